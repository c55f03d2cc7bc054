"""Where a trigger keeps its cursor, and where it reads of earlier replays."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs.core.ledger.known_copies import KnownCopies, known_copies_in
from airflow_provider_mqs.exceptions import StoreError
from airflow_provider_mqs.tasks.stores import HAS_STATE_STORES, choose_stores, configured_folder, record_inlets

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.values.time_window import TimeWindow
    from airflow_provider_mqs.core.values.topic_ref import TopicRef

_log = logging.getLogger(__name__)
_ANSWER_S: Final = 60.0


class CursorStore:
    """
    Remembers for a trigger.

    The cursor is kept in the state store of the watched asset (Airflow 3.3 and later), else in the folder ``[mqs]
    ledger_path``, else nowhere. Earlier replays are read where the resend writes them: in the state store of the
    record's asset, in that folder, before Airflow 3.3 in Variables.

    :param accessors: ``asset_state_store`` of the trigger, ``None`` where Airflow gave none
    """

    def __init__(self, accessors: Any) -> None:
        self._accessors = accessors
        self._in_triggerer = accessors is not None
        self._folder = configured_folder()
        self._told: set[str] = set()

    async def load(self, key: str) -> Any | None:
        """
        Read a value.

        :param key: its name
        :return: the value, ``None`` where there is none, or where nothing is kept
        :raises StoreError: the store cannot be read
        """
        if self._accessors is not None:
            try:
                return await _asked("read", _call(self._accessors, "get", key))
            except ValueError:
                self._accessors = None
                self._tell("Several assets share this watcher, so it cannot keep its cursor in one's state store.")
        if self._folder is not None:
            return await asyncio.to_thread(self._folder.get, key)
        self._tell(
            "The cursor is not kept anywhere: messages that come while this trigger does not run raise no event, and "
            "some may raise two. Watch an asset on Airflow 3.3 or later, or set [mqs] ledger_path."
        )
        return None

    async def save(self, key: str, value: Any) -> None:
        """
        Write a value, where there is a store.

        :param key: its name
        :param value: plain JSON
        :raises StoreError: the store cannot be written
        """
        if self._accessors is not None:
            await _asked("write", _call(self._accessors, "set", key, value))
        elif self._folder is not None:
            await asyncio.to_thread(self._folder.set, key, value)

    async def copies(self, window: TimeWindow, ref: TopicRef) -> KnownCopies:
        """
        Find the copies that earlier replays have put into a window.

        :param window: the time window
        :param ref: the topic
        :return: the copies; none, with one warning, where no record can be read
        :raises StoreError: a record cannot be read
        """
        records = self._records()
        if not records:
            self._tell("There is no record of earlier replays: their copies are not told from originals.")
            return KnownCopies()
        found: KnownCopies = await _in_thread(lambda: known_copies_in(records, window, ref))
        return found

    def _records(self) -> tuple[Store, ...]:
        reachable = HAS_STATE_STORES and self._in_triggerer
        accessor = _FromThread(_record_accessor(), asyncio.get_running_loop()) if reachable else None
        return choose_stores(self._folder, record_state=accessor, variables=not HAS_STATE_STORES).records

    def _tell(self, sentence: str) -> None:
        """Warn once."""
        if sentence not in self._told:
            self._told.add(sentence)
            _log.warning("%s", sentence)


class _FromThread:
    """Lets a thread read a store that only the event loop may ask."""

    def __init__(self, accessor: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._accessor = accessor
        self._loop = loop

    def get(self, key: str) -> Any:
        return asyncio.run_coroutine_threadsafe(_call(self._accessor, "get", key), self._loop).result(_ANSWER_S)


def _record_accessor() -> Any:
    """Return the accessor of the record's asset; Airflow gives a trigger only those of the assets that it watches."""
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors  # noqa: PLC0415 - 3.3 and later

    return AssetStateStoreAccessors(inlets=record_inlets())[record_inlets()[0]]


async def _call(accessor: Any, name: str, *arguments: Any) -> Any:
    # the asynchronous twins are there since 3.3.2
    asynchronous = getattr(accessor, f"a{name}", None)
    if asynchronous is not None:
        return await asynchronous(*arguments)
    return await _in_thread(lambda: getattr(accessor, name)(*arguments))


async def _in_thread(call: Callable[[], Any]) -> Any:
    # a thread that asgiref knows: Airflow answers a call from there through this loop
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - a dependency of every Airflow

    return await sync_to_async(call, thread_sensitive=False)()


async def _asked(verb: str, answer: Any) -> Any:
    try:
        return await answer
    except ValueError:
        raise
    except Exception as error:
        raise StoreError(
            f"Airflow cannot {verb} the state store of the asset ({type(error).__name__}: {error})."
        ) from error
