"""
``MessageQueueTrigger(scheme="mqs", topic="orders", ...)``: ``NewMessagesTrigger`` by the name of a scheme.

Needs the extra ``messaging``; Airflow loads this file only where that package is installed and used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.messaging.providers.base_provider import BaseMessageQueueProvider

from airflow_provider_mqs.core.values.asset_uri import SCHEME

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger


class MqsMessageQueueProvider(BaseMessageQueueProvider):  # type: ignore[misc]  # of an extra, which mypy skips
    """
    Tells Airflow which trigger watches MQS.

    Source: Airflow documentation, "Message queues" of the common messaging provider.
    """

    scheme = SCHEME

    def trigger_class(self) -> type[BaseEventTrigger]:
        """
        Name the trigger.

        :return: ``NewMessagesTrigger``; it takes the other arguments of ``MessageQueueTrigger``
        """
        # not at the top: Airflow makes one of each provider wherever a queue is watched
        from airflow_provider_mqs.triggers.mqs import NewMessagesTrigger  # noqa: PLC0415

        return NewMessagesTrigger
