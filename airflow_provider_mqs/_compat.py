"""
The few names of Airflow that ``common.compat`` lacks in 1.12.0, the oldest supported; nothing else belongs here.

Works on Airflow 2.11 and 3.0 to 3.3 without a deprecation warning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from airflow import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

AIRFLOW_VERSION: Final = tuple(int(part) for part in __version__.split(".")[:2])
"""Series of the installed Airflow, such as ``(3, 3)``."""

_NEW_MASKER: Final = "airflow.sdk.log"
_OLD_MASKERS: Final = ("airflow.sdk.execution_time.secrets_masker", "airflow.utils.log.secrets_masker")


def mask_secret(secret: str) -> None:
    """Mask a value in the logs of this process and its supervisor; Airflow leaves fewer than six characters alone."""
    # 3.1 and later, 3.0, 2.11: in this order, since later series warn about the older modules
    found = (_find(module, "mask_secret") for module in (_NEW_MASKER, *_OLD_MASKERS))
    next(filter(None, found))(secret)


async def amask_secret(secret: str) -> None:
    """
    Mask a value in logs, from a coroutine.

    The synchronous call talks to the supervisor, which an event loop must not do while another call is in flight.
    Before Airflow 3.3 it therefore runs in a thread: one that asgiref knows, since its answer comes through this loop.
    """
    masker = _find(_NEW_MASKER, "amask_secret")
    if masker is not None:
        await masker(secret)
        return
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - a dependency of every Airflow, needed only below 3.3

    await sync_to_async(mask_secret)(secret)


def _find(module: str, name: str) -> Callable[[str], Any] | None:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return None
