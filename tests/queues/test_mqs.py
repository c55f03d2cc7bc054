"""MQS under the name of a scheme, if the package for message queues is installed."""

from __future__ import annotations

from importlib import import_module

import pytest

from airflow_provider_mqs.get_provider_info import get_provider_info
from airflow_provider_mqs.triggers.mqs import NewMessagesTrigger
from tests.airflow import AIRFLOW

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 0), reason="message queues came with Airflow 3")
ARGUMENTS = {"topic": "orders", "mqs_conn_id": "mine", "poll_interval_s": 5.0}


def test_the_scheme_leads_to_our_trigger() -> None:
    """Airflow finds it through the provider's metadata, and stores the trigger under its own name."""
    from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger

    named = MessageQueueTrigger(scheme="mqs", **ARGUMENTS)

    assert named.serialize() == NewMessagesTrigger(**ARGUMENTS).serialize()


def test_the_metadata_names_a_provider_of_queues() -> None:
    """The class is there, and serves this scheme and no other."""
    (path,) = get_provider_info()["queues"]
    module, name = path.rsplit(".", 1)

    provider = getattr(import_module(module), name)()

    assert provider.scheme_matches("mqs")
    assert not provider.scheme_matches("sqs")
    assert not provider.queue_matches("mqs://host/instance/orders")
