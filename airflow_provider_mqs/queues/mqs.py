"""
``MessageQueueTrigger(scheme="mqs", topic="orders", ...)``: ``NewMessagesTrigger`` under the name of a scheme.

Needs the extra ``messaging``; Airflow imports this file only if that package is installed and used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.messaging.providers.base_provider import BaseMessageQueueProvider

from airflow_provider_mqs.core.values.topic_ref import SCHEME

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger


class MqsMessageQueueProvider(BaseMessageQueueProvider):  # type: ignore[misc]  # of an extra, which mypy skips
    """
    Says which trigger watches MQS.

    Source: Airflow documentation, "Message queues" of the common messaging provider.
    """

    scheme = SCHEME

    def trigger_class(self) -> type[BaseEventTrigger]:
        """
        Return the trigger.

        :return: ``NewMessagesTrigger``, which takes the other arguments of ``MessageQueueTrigger``
        """
        # not at the top: to watch any queue, Airflow instantiates the providers of all schemes
        from airflow_provider_mqs.triggers.mqs import NewMessagesTrigger  # noqa: PLC0415

        return NewMessagesTrigger
