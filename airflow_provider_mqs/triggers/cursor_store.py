"""
Where a trigger keeps its cursor, and where it reads of earlier replays.

The cursor is kept in the state store of the watched asset (Airflow 3.3 and later), else in the folder ``[mqs]
ledger_path``, else nowhere. Earlier replays are read where the resend records them, as ``tasks/stores`` decides.

Airflow answers a trigger through the event loop of the triggerer, so each call here is asynchronous or runs in a
thread; the stores of a task are the synchronous counterpart.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies, known_copies_in
from airflow_provider_mqs.exceptions import StoreError
from airflow_provider_mqs.tasks.stores import HAS_STATE_STORES, choose_stores, configured_folder, record_inlets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_mqs.core.values.time_window import TimeWindow
    from airflow_provider_mqs.core.values.topic_ref import TopicRef

_log = logging.getLogger(__name__)
_TIMEOUT_S: Final = 60.0


class CursorStore:
    """Keeps plain JSON for one trigger. ``accessor`` is its ``asset_state_store``, ``None`` if Airflow has none."""

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor
        self._in_triggerer = accessor is not None
        self._folder = configured_folder()
        self._warned: set[str] = set()

    async def load(self, key: str) -> Any | None:
        """Read a value; ``None`` if there is none, or nothing can be kept."""
        if self._accessor is not None:
            try:
                with _store_errors("read"):
                    return await _aget(self._accessor, key)
            except ValueError:
                self._accessor = None
                self._warn_once("Several assets share this watcher, so none of their state stores can keep its cursor.")
        if self._folder is not None:
            return await asyncio.to_thread(self._folder.get, key)
        self._warn_once(
            "The cursor is not stored: messages that arrive while this trigger is down raise no event, and some may "
            "raise two. Watch an asset on Airflow 3.3 or later, or set [mqs] ledger_path."
        )
        return None

    async def save(self, key: str, value: Any) -> None:
        """Write a value, if there is a store."""
        if self._accessor is not None:
            with _store_errors("write"):
                if hasattr(self._accessor, "aset"):
                    await self._accessor.aset(key, value)
                else:
                    await _in_thread(partial(self._accessor.set, key, value))
        elif self._folder is not None:
            await asyncio.to_thread(self._folder.set, key, value)

    async def known_copies(self, window: TimeWindow, ref: TopicRef) -> KnownCopies:
        """Find the copies that earlier replays have put into a window; none, with one warning, without any record."""
        reachable = HAS_STATE_STORES and self._in_triggerer
        state = _FromThread(_record_accessor(), asyncio.get_running_loop()) if reachable else None
        records = choose_stores(self._folder, record_state=state, variables=not HAS_STATE_STORES).records
        if not records:
            self._warn_once("There is no record of earlier replays, so their copies count as new messages.")
            return KnownCopies()
        copies: KnownCopies = await _in_thread(partial(known_copies_in, records, window, ref))
        return copies

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            _log.warning("%s", sentence)


class _FromThread:
    """Lets a thread read a state store that only the event loop can ask."""

    def __init__(self, accessor: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._accessor = accessor
        self._loop = loop

    def get(self, key: str) -> Any:
        return asyncio.run_coroutine_threadsafe(_aget(self._accessor, key), self._loop).result(_TIMEOUT_S)


def _record_accessor() -> Any:
    """Return the state store of the record's asset; Airflow passes a trigger only those of the assets it watches."""
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors  # noqa: PLC0415 - 3.3 and later

    return AssetStateStoreAccessors(inlets=record_inlets())[record_inlets()[0]]


async def _aget(accessor: Any, key: str) -> Any:
    # Airflow 3.3.0 and 3.3.1 have no asynchronous twins
    return await (accessor.aget(key) if hasattr(accessor, "aget") else _in_thread(partial(accessor.get, key)))


async def _in_thread(call: Callable[[], Any]) -> Any:
    # not asyncio.to_thread: from a thread of asgiref's, Airflow can ask its supervisor through this loop
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - a dependency of every Airflow

    return await sync_to_async(call, thread_sensitive=False)()


@contextmanager
def _store_errors(verb: str) -> Iterator[None]:
    """Raise what goes wrong in Airflow as an error of ours; a ``ValueError`` says that several assets are watched."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise StoreError(
            f"Airflow cannot {verb} the state store of the asset ({type(error).__name__}: {error})."
        ) from error
