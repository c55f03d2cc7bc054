"""
Where Airflow keeps ledgers and indexes, and which of these stores a task, a trigger and a command use.

``configured_store`` returns the store that the settings name, here called *folder*: ``ledger_path``, else ``[mqs]
ledger_path``; a command without either uses the user's state folder. ``choose_stores`` decides what follows from it.
All stores are alike: each holds ledgers, fences and indexes, and every value is written into each of them in turn.

=====================  ===========================================================
who asks               stores, in the order of writing
=====================  ===========================================================
task, Airflow 3.3+     state store of the record's asset, and the folder
task, 2.11 to 3.2      folder, else Variables
trigger, Airflow 3.3+  state store of the record's asset, and the folder
trigger, 2.11 to 3.2   folder, else Variables
command                folder
plain dict as context  folder, else the task's state store if it has one, else none
=====================  ===========================================================

The folder is used on Airflow 3.3 too, so that tasks and commands know of each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.common.compat.sdk import Asset, Variable, conf

from airflow_provider_mqs._compat import AIRFLOW_VERSION
from airflow_provider_mqs.core.ledger.stores import FileStore, Store
from airflow_provider_mqs.core.values.arguments import is_absent
from airflow_provider_mqs.core.values.topic_ref import RECORD_HOST
from airflow_provider_mqs.exceptions import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


RECORD_NAME: Final = "mqs-replay-record"
RECORD_URI: Final = f"mqs://{RECORD_HOST}"
HAS_STATE_STORES: Final = AIRFLOW_VERSION >= (3, 3)
_VARIABLE_PREFIX: Final = "mqs_replay__"


def choose_stores(
    configured: Store | None,
    *,
    record_state: Any | None = None,
    task_state: Any | None = None,
    variables: bool = False,
) -> tuple[Store, ...]:
    """
    Choose the stores for what a caller can reach, as in the table above.

    ``record_state`` and ``task_state`` are accessors of Airflow's state stores; ``variables`` says whether there is an
    Airflow that answers for Variables.
    """
    stores: list[Store] = [] if record_state is None else [AssetStateStore(record_state)]
    if configured is not None:
        stores.append(configured)
    if not stores and task_state is not None:
        stores.append(TaskStateStore(task_state))
    if not stores and variables:
        stores.append(VariableStore())
    return tuple(stores)


def stores_of_task(context: Mapping[str, Any], ledger_path: Any) -> tuple[Store, ...]:
    """Choose the stores of a task; without a folder, a plain dict as context has none."""
    assets = context.get("asset_state_store")
    return choose_stores(
        configured_store(ledger_path),
        record_state=None if assets is None else assets[record_inlets()[0]],
        task_state=context.get("task_state_store"),
        # a stand-in from a unit test comes without an Airflow
        variables=type(context.get("ti")).__module__.startswith("airflow."),
    )


def configured_store(ledger_path: Any = None) -> Store | None:
    """Return the store that ``ledger_path`` names, else ``[mqs] ledger_path``; ``None`` if neither is set."""
    path = conf.get("mqs", "ledger_path", fallback="") if is_absent(ledger_path) else ledger_path
    return open_folder(str(path)) if path else None


def open_folder(path: str) -> FileStore:
    """Return the store for an absolute path or a URL of ``ObjectStoragePath``; nothing is created before a write."""
    scheme, _, rest = path.rpartition("://")
    if scheme in ("", "file"):
        folder = Path(rest).expanduser()
        if not folder.is_absolute():
            raise ConfigurationError(f"ledger_path must be an absolute path or a URL, not {path[:100]!r}.")
        return FileStore(folder)
    from airflow.providers.common.compat.sdk import ObjectStoragePath  # noqa: PLC0415 - imports fsspec

    try:
        return FileStore(ObjectStoragePath(path))
    except Exception as error:
        raise ConfigurationError(
            f"ledger_path is on {scheme[:20]!r}, which this Airflow cannot open ({type(error).__name__}): "
            "install the provider of that storage."
        ) from error


def record_inlets() -> list[Any]:
    """Return the inlets that give an operator access to the replay record: its asset on 3.3 and later, else none."""
    return [Asset(name=RECORD_NAME, uri=RECORD_URI)] if HAS_STATE_STORES else []


class TaskStateStore:
    """
    The state of one task instance, over all its tries; values never expire.

    Source: Airflow documentation, "Task State Store" (3.3 and later).
    """

    name = "the task's state store"

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor

    def get(self, key: str) -> Any | None:
        """Return a value, ``None`` if there is none."""
        return _call_airflow(self.name, lambda: self._accessor.get(key))

    def set(self, key: str, value: Any) -> None:
        """Write a value."""
        # there since 3.3, as is the store; the type stub lacks it
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # noqa: PLC0415

        _call_airflow(self.name, lambda: self._accessor.set(key, value, retention=NEVER_EXPIRE))


class AssetStateStore:
    """
    The state of the record's asset, shared by all tasks that declare the asset as an inlet.

    Source: Airflow documentation, "Asset State Store" (3.3 and later).
    """

    name = f"the state store of asset {RECORD_NAME!r}"

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor

    def get(self, key: str) -> Any | None:
        """Return a value, ``None`` if there is none."""
        return _call_airflow(self.name, lambda: self._accessor.get(key))

    def set(self, key: str, value: Any) -> None:
        """Write a value."""
        _call_airflow(self.name, lambda: self._accessor.set(key, value))


class VariableStore:
    """One Airflow Variable for each value, ``mqs_replay__<key>``; for Airflow before 3.3."""

    name = f"Airflow Variables ({_VARIABLE_PREFIX}*)"

    def get(self, key: str) -> Any | None:
        """Return a value, ``None`` if there is none."""
        default: dict[str, Any] = {"default" if AIRFLOW_VERSION >= (3, 0) else "default_var": None}
        return _call_airflow(self.name, lambda: Variable.get(_VARIABLE_PREFIX + key, deserialize_json=True, **default))

    def set(self, key: str, value: Any) -> None:
        """Write a value."""
        _call_airflow(self.name, lambda: Variable.set(_VARIABLE_PREFIX + key, value, serialize_json=True))


def _call_airflow(name: str, call: Callable[[], Any]) -> Any:
    # Airflow raises errors of many kinds here, and after each of them nothing may be sent
    try:
        return call()
    except Exception as error:
        raise StoreError(f"Airflow cannot read or write {name} ({type(error).__name__}: {error}).") from error
