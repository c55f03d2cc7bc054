"""The certificates of a connection, the same on both wires."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_mqs.core.connection.field_types import field_error
from airflow_provider_mqs.exceptions import TransportError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.settings import ConnectionSettings


def ssl_context(settings: ConnectionSettings) -> ssl.SSLContext | None:
    """
    Build what TLS needs.

    :param settings: the connection: ``verify_tls``, ``ca_bundle`` (trusted instead of the platform's), ``client_cert``
    :return: ``None`` for the defaults of the platform, else a context
    :raises ConfigurationError: a file holds no certificate
    """
    bundle = settings.ca_bundle
    if settings.verify_tls and not bundle and not settings.client_cert:
        return None
    is_folder = bundle is not None and Path(bundle).is_dir()
    try:
        context = ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    except OSError as error:
        raise field_error("ca_bundle", "cannot be read: give a PEM file of the certificates to trust") from error
    if not settings.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert:
        try:
            context.load_cert_chain(settings.client_cert, password=_no_password)
        except (OSError, ValueError) as error:
            raise field_error("client_cert", "cannot be read: give a PEM file of certificate and open key") from error
    return context


def not_trusted(error: Exception) -> TransportError:
    """
    Say why the certificate of the service was refused.

    :param error: what the handshake raised
    :return: an error with OpenSSL's reason, such as "self-signed certificate"
    """
    reason = getattr(error, "verify_message", "") or "no reason given"
    return TransportError(f"The service's TLS certificate is not trusted ({reason}).", phase="tls")


def _no_password() -> str:
    """Refuse an encrypted key; without this, OpenSSL asks the terminal."""
    raise ValueError("encrypted")
