"""Modules that are loaded when a trigger needs them, in a thread: an import must not hold up all other triggers."""

from __future__ import annotations

import asyncio
from importlib import import_module

from airflow_provider_mqs.process_state import process_wide

_loaded: set[str] = process_wide(set())


async def load(*names: str) -> None:
    """
    Load modules that this process may not have yet; importing them afterwards costs nothing.

    :param names: their names
    """
    for name in names:
        if name not in _loaded:  # not whether Python knows it: another thread may be half way through it
            await asyncio.to_thread(import_module, name)
            _loaded.add(name)
