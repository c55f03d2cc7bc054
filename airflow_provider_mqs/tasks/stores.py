"""Where Airflow keeps ledgers and the record of replays: task and asset state stores, Variables, folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.common.compat.sdk import Asset, Variable, conf

from airflow_provider_mqs._compat import AIRFLOW_VERSION
from airflow_provider_mqs.core.ledger.stores import FileStore, ReplayStores
from airflow_provider_mqs.core.values.arguments import is_absent
from airflow_provider_mqs.core.values.asset_uri import RECORD_HOST
from airflow_provider_mqs.exceptions import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.core.ledger.stores import Store

RECORD_NAME: Final = "mqs-replay-record"
RECORD_URI: Final = f"mqs://{RECORD_HOST}"
_HAS_STATE_STORES: Final = AIRFLOW_VERSION >= (3, 3)
_PREFIX: Final = "mqs_replay__"


class TaskStateStore:
    """
    Keeps values for one task instance, over all its tries; they never expire.

    Source: Airflow documentation, "Task State Store" (3.3 and later).

    :param accessor: ``context["task_state_store"]``
    """

    name = "the task's state store"

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor

    def get(self, key: str) -> Any | None:
        """See ``Store``."""
        return _asked(self.name, lambda: self._accessor.get(key))

    def set(self, key: str, value: Any) -> None:
        """See ``Store``."""
        # there since 3.3, as is the store; the type stub lacks it
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # noqa: PLC0415

        _asked(self.name, lambda: self._accessor.set(key, value, retention=NEVER_EXPIRE))


class AssetStateStore:
    """
    Keeps values for all tasks that name one constant asset as an inlet.

    Source: Airflow documentation, "Asset State Store" (3.3 and later).

    :param accessor: ``context["asset_state_store"][asset]``
    """

    name = f"the state store of asset {RECORD_NAME!r}"

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor

    def get(self, key: str) -> Any | None:
        """See ``Store``."""
        return _asked(self.name, lambda: self._accessor.get(key))

    def set(self, key: str, value: Any) -> None:
        """See ``Store``."""
        _asked(self.name, lambda: self._accessor.set(key, value))


class VariableStore:
    """Keeps each value in an Airflow Variable, ``mqs_replay__<key>``; for Airflow before 3.3."""

    name = f"Airflow Variables ({_PREFIX}*)"

    def get(self, key: str) -> Any | None:
        """See ``Store``."""
        default: dict[str, Any] = {"default" if AIRFLOW_VERSION >= (3, 0) else "default_var": None}
        return _asked(self.name, lambda: Variable.get(_PREFIX + key, deserialize_json=True, **default))

    def set(self, key: str, value: Any) -> None:
        """See ``Store``."""
        _asked(self.name, lambda: Variable.set(_PREFIX + key, value, serialize_json=True))


def record_inlets() -> list[Any]:
    """
    Name what an operator must declare to reach the record of replays.

    :return: the asset on Airflow 3.3 and later, nothing before
    """
    return [Asset(name=RECORD_NAME, uri=RECORD_URI)] if _HAS_STATE_STORES else []


def stores_of_run(context: Mapping[str, Any], path: Any) -> ReplayStores:
    """
    Find where a replay is remembered, and where earlier ones are.

    :param context: Airflow's context; a plain dict will do
    :param path: folder, local or of an object storage; absent for ``[mqs] ledger_path``
    :return: the ledger in the folder, else in the task's state store (3.3 and later); the records in the state store
        of the record's asset (3.3 and later) and in the folder, else in Variables; nowhere outside a task without a
        folder
    :raises ConfigurationError: the folder cannot be understood
    """
    task, assets, folder = context.get("task_state_store"), context.get("asset_state_store"), ledger_folder(path)
    records: list[Store] = [] if assets is None else [AssetStateStore(assets[record_inlets()[0]])]
    if folder is not None:
        # also where there is a state store: commands look here
        records.append(folder)
    # a stand-in of somebody's unit test has no Airflow behind it
    if not records and type(context.get("ti")).__module__.startswith("airflow."):
        records.append(VariableStore())
    return ReplayStores(folder or (None if task is None else TaskStateStore(task)), tuple(records))


def folder_store(path: str) -> FileStore:
    """
    Keep values in a folder.

    :param path: absolute, or the URL of a folder that ``ObjectStoragePath`` knows
    :return: the store; the folder is made when it is first written to
    :raises ConfigurationError: the path is relative, or of a storage that is not installed
    """
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


def ledger_folder(path: Any = None) -> FileStore | None:
    """
    Find the folder for ledgers.

    :param path: folder, local or of an object storage; absent for ``[mqs] ledger_path``
    :return: the store, ``None`` where none is configured
    :raises ConfigurationError: the folder cannot be understood
    """
    wanted = conf.get("mqs", "ledger_path", fallback="") if is_absent(path) else path
    return folder_store(str(wanted)) if wanted else None


def _asked(name: str, call: Callable[[], Any]) -> Any:
    """Ask Airflow; whatever goes wrong there, nothing may be sent."""
    try:
        return call()
    except Exception as error:
        raise StoreError(f"Airflow cannot read or write {name} ({type(error).__name__}: {error}).") from error
