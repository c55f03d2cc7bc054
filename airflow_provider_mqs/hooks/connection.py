"""
From an Airflow connection to settings, with every secret masked on the way.

Reads ``extra`` as text: Airflow's own parser talks to the supervisor, which an event loop must not wait for.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Final

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, BaseHook, Connection

from airflow_provider_mqs._compat import amask_secret, mask_secret
from airflow_provider_mqs.core.connection.settings import ConnectionSettings
from airflow_provider_mqs.exceptions import ConfigurationError
from airflow_provider_mqs.process_state import process_wide

_log = logging.getLogger(__name__)
_LOOK_UP_ERRORS: Final = (AirflowException, ValueError, TypeError)
_warned: set[tuple[str, ...]] = process_wide(set())  # (connection, unknown fields) that were warned about


def settings_for(conn_id: str) -> ConnectionSettings:
    """Look a connection up and read it; mask its secrets in logs from now on."""
    try:
        connection = BaseHook.get_connection(conn_id)
    except _LOOK_UP_ERRORS as error:
        raise _unreadable(conn_id, error) from None
    settings = read(connection, conn_id)
    for secret in settings.secrets:
        mask_secret(secret)
    return settings


async def asettings_for(conn_id: str) -> ConnectionSettings:
    """See ``settings_for``."""
    try:
        connection = await get_async_connection(conn_id)
    except _LOOK_UP_ERRORS as error:
        raise _unreadable(conn_id, error) from None
    settings = read(connection, conn_id)
    for secret in settings.secrets:
        await amask_secret(secret)
    return settings


def read(connection: Connection, conn_id: str) -> ConnectionSettings:
    """Read a connection; warn once per process about unknown extra fields."""
    try:
        extra = json.loads(connection.extra) if connection.extra and connection.extra.strip() else {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ConfigurationError(
            'Connection field \'extra\' is not a JSON object: write it like {"domain_name": "acme"}.'
        )
    settings = ConnectionSettings.parse(
        host=connection.host,
        schema=connection.schema,
        port=connection.port,
        login=connection.login,
        password=connection.password,
        extra=extra,
    )
    unknown = settings.unknown_extras
    if unknown and (conn_id, *unknown) not in _warned:
        _warned.add((conn_id, *unknown))
        _log.warning("Connection %r has unknown extra fields, which are ignored: %s", conn_id, ", ".join(unknown))
    return settings


def _unreadable(conn_id: str, error: Exception) -> ConfigurationError:
    """Return an error that names only the connection and the kind of error: a parser's text may quote secrets."""
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    # Airflow 3 reports "not found" also for a variable that it could not parse
    if isinstance(error, AirflowNotFoundException) and variable not in os.environ:
        return ConfigurationError(f"Connection {conn_id!r} does not exist: create it in Airflow, or set {variable}.")
    return ConfigurationError(
        f"Connection {conn_id!r} cannot be read ({type(error).__name__}): "
        f"correct it in Airflow, or write {variable} as one JSON object or URI."
    )
