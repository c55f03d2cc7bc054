"""A resend does not start itself: an event of a topic starts no resend to that topic, unless somebody says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_mqs.assets.mqs import mqs_topic_asset
from airflow_provider_mqs.hooks.mqs import MqsHook
from airflow_provider_mqs.operators.mqs import ResendMessagesOperator

if TYPE_CHECKING:
    from airflow_provider_mqs.testing import MqsEmulator

REMEDY = "allow_self_trigger=True"


@pytest.fixture
def ref(mqs: MqsEmulator) -> dict[str, str]:
    """Where a topic is, with one message."""
    mqs.append("orders", 0, "one")
    hook = MqsHook()
    return {"endpoint": hook.settings.host, "instance_id": hook.instance_id, "topic": "orders"}


def asset(ref: dict[str, str]) -> Any:
    return mqs_topic_asset(host=ref["endpoint"], instance_id=ref["instance_id"], topic=ref["topic"])


def context(source: Any, extra: Any = None) -> dict[str, Any]:
    return {"triggering_asset_events": {source: [SimpleNamespace(asset=source, extra=extra)]}}


def resend(context: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    messages = [{"partition": 0, "message_offset": 0}]
    operator = ResendMessagesOperator(task_id="resend", messages=messages, topic="orders", **arguments)
    return operator.execute(context)


def test_an_event_of_the_topics_asset_is_refused(mqs: MqsEmulator, ref: dict[str, str]) -> None:
    """Before the first POST, with the remedy."""
    with pytest.raises(AirflowFailException, match=REMEDY):
        resend(context(asset(ref)))

    assert mqs.resends("orders") == []


@pytest.mark.parametrize("nested", [True, False])
def test_what_an_event_carries_counts_whatever_its_asset_is_called(
    mqs: MqsEmulator, ref: dict[str, str], nested: bool
) -> None:
    """The offsets of a watcher, and the report of a resend."""
    other = asset({**ref, "topic": "other"})

    with pytest.raises(AirflowFailException, match=REMEDY):
        resend(context(other, {"from_trigger": True, "payload": ref} if nested else ref))

    assert mqs.resends("orders") == []


@pytest.mark.parametrize("different", ["endpoint", "instance_id", "topic"])
def test_an_event_of_something_else_is_no_matter(mqs: MqsEmulator, ref: dict[str, str], different: str) -> None:
    """Another topic, the same name in another instance, the same id at another host."""
    other = {**ref, different: "other"}

    assert resend(context(asset(other), {"payload": other}))["sent"] == 1


def test_events_that_carry_anything_are_no_matter(mqs: MqsEmulator, ref: dict[str, str]) -> None:
    """Other people's assets and their extras are not ours to understand."""
    source = SimpleNamespace(name="alias")

    assert resend(context(source.name, {"payload": "text"}) | {"triggering_dataset_events": None})["sent"] == 1


def test_a_dataset_of_airflow_2_counts(mqs: MqsEmulator, ref: dict[str, str]) -> None:
    """There the events are listed by the URI alone."""
    uri = asset(ref).uri
    events = {uri: [SimpleNamespace(dataset=SimpleNamespace(uri=uri), extra={})]}

    with pytest.raises(AirflowFailException, match=REMEDY):
        resend({"triggering_dataset_events": events})


@pytest.mark.parametrize("arguments", [{"allow_self_trigger": "True"}, {"dry_run": True}])
def test_it_goes_on_where_that_is_allowed_or_nothing_is_sent(
    mqs: MqsEmulator, ref: dict[str, str], arguments: dict[str, Any]
) -> None:
    """Text of a template is understood; a dry run starts nothing."""
    report = resend(context(asset(ref)), **arguments)

    assert report["sent"] == len(mqs.resends("orders")) == ("dry_run" not in arguments)


class Unreadable(dict[Any, Any]):
    """What Airflow 2 gives a mapped task: to read it fails."""

    def items(self) -> Any:
        raise RuntimeError


def test_a_run_that_no_event_started_reads_none(mqs: MqsEmulator, ref: dict[str, str]) -> None:
    """Reading them costs a query, and on Airflow 2 the task."""
    run = {"dag_run": SimpleNamespace(run_type="manual"), "triggering_asset_events": Unreadable()}

    assert resend(run)["sent"] == 1


def test_a_run_that_an_event_started_is_refused(mqs: MqsEmulator, ref: dict[str, str]) -> None:
    """However Airflow calls its type."""
    for run_type in ("asset_triggered", "dataset_triggered"):
        with pytest.raises(AirflowFailException, match=REMEDY):
            resend(context(asset(ref)) | {"dag_run": SimpleNamespace(run_type=run_type)})
