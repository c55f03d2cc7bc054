"""The filter arguments of operators and sensors, declared once."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_mqs.core.query.filters import Filters, MessageFilter, PartitionsArgument

_MARKER = re.compile(r"^( *)\{filter_params\}$", re.MULTILINE)


class FilteredOperator(BaseOperator):
    """
    Takes the filter arguments, and documents them in place of ``{filter_params}`` in the docstring of a subclass.

    {filter_params}
    """

    filter_template_fields: ClassVar[tuple[str, ...]] = (
        "partitions",
        "key",
        "tag",
        "message_id",
        "app_id",
        "fetch_values",
    )
    """For ``template_fields``: all but the function."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__doc__:  # there is none with -OO
            params = [f":param {one.name}: {one.metadata['help']}" for one in fields(Filters)]
            cls.__doc__ = _MARKER.sub(lambda marker: "\n".join(marker[1] + param for param in params), cls.__doc__)

    def __init__(
        self,
        *,
        partitions: PartitionsArgument = None,
        key: str | None = None,
        tag: str | None = None,
        message_id: str | None = None,
        app_id: str | None = None,
        message_filter: MessageFilter | None = None,
        fetch_values: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.partitions = partitions
        self.key = key
        self.tag = tag
        self.message_id = message_id
        self.app_id = app_id
        self.message_filter = message_filter
        self.fetch_values = fetch_values

    def read_filters(self) -> Filters:
        """Check the arguments once they are rendered."""
        return Filters.read(
            partitions=self.partitions,
            key=self.key,
            tag=self.tag,
            message_id=self.message_id,
            app_id=self.app_id,
            message_filter=self.message_filter,
            fetch_values=self.fetch_values,
        )
