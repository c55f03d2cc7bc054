"""What both operators need to reach the record of earlier replays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_mqs.tasks.stores import record_inlets

if TYPE_CHECKING:
    from collections.abc import Iterable


class RecordedOperator(BaseOperator):
    """
    Declares the asset of the replay record as an inlet, mapped or not; before Airflow 3.3 there is nothing to declare.

    :param kwargs: arguments of ``BaseOperator``
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inlets = _with_record(self.inlets)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """
        Begin a mapped task. Airflow reads its inlets before ``__init__`` runs.

        :param kwargs: arguments that all mapped tasks share
        :return: what ``expand`` is called on
        """
        return super().partial(**{**kwargs, "inlets": _with_record(kwargs.get("inlets") or [])})


def _with_record(inlets: Iterable[Any]) -> list[Any]:
    declared = list(inlets)
    return [*declared, *(asset for asset in record_inlets() if asset not in declared)]
