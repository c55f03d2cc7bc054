"""What operators share: the replay record, results in XCom, and no retry of what no retry can mend."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator

from airflow_provider_mqs.exceptions import PERMANENT
from airflow_provider_mqs.tasks.stores import record_inlets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class RecordedOperator(BaseOperator):
    """
    Declares the asset of the replay record as an inlet, since Airflow 3.3 shows an asset's state only to tasks that do.

    :param kwargs: arguments of ``BaseOperator``
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inlets = _with_record(self.inlets)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """
        Begin a mapped task.

        :param kwargs: arguments that all mapped tasks share
        :return: what ``expand`` is called on
        """
        # Airflow reads the inlets of a mapped task before ``__init__`` runs
        return super().partial(**{**kwargs, "inlets": _with_record(kwargs.get("inlets") or [])})


@contextmanager
def permanent_errors_fail() -> Iterator[None]:
    """Raise errors that a retry cannot mend as ``AirflowFailException``."""
    try:
        yield
    except PERMANENT as error:
        raise AirflowFailException(str(error)) from error


def push_result(context: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Push what a task that fails has done; Airflow pushes only what ``execute`` returns."""
    ti = context.get("ti")
    if ti is not None:
        ti.xcom_push(key="return_value", value=result)


def run_of(context: Mapping[str, Any], conn_id: str) -> dict[str, Any]:
    """Return who runs this, as the owner of a ledger and in documents."""
    ti = context.get("ti")
    run = {name: getattr(ti, name, None) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")}
    return {**run, "conn_id": conn_id}


def _with_record(inlets: Iterable[Any]) -> list[Any]:
    declared = list(inlets)
    return [*declared, *(asset for asset in record_inlets() if asset not in declared)]
