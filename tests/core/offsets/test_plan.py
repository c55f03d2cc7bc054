"""What a resend is asked to send: every shape that XComs and people give, and one sentence for everything else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.offsets.document import Batch, Offsets, PartitionOffsets, digest_of
from airflow_provider_mqs.core.offsets.plan import Plan, plan_of, receivers_of
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

START_MS = 1_700_000_000_000
ENDPOINT, INSTANCE = "mqs.example.com", "i-1"


def offsets(*ranges: tuple[int, int], partition: int = 0, **changes: Any) -> Offsets:
    partitions = {partition: PartitionOffsets(ranges, START_MS, START_MS)} if ranges else {}
    plain = Offsets(ENDPOINT, INSTANCE, "orders", TimeWindow(START_MS, START_MS + 1000), partitions)
    return replace(plain, **changes)


def document(*ranges: tuple[int, int], partition: int = 0, **changes: Any) -> dict[str, Any]:
    return offsets(*ranges, partition=partition, **changes).to_xcom()


def item(partition: Any = 0, message_offset: Any = 4, **more: Any) -> dict[str, Any]:
    return {"partition": partition, "message_offset": message_offset, **more}


def plan(messages: Any, topic: str | None = None) -> Plan:
    return plan_of(messages, topic, endpoint=ENDPOINT, instance_id=INSTANCE)


class Lazy:
    """A sequence that gives its items one at a time, as Airflow's of mapped tasks does."""

    def __init__(self, *items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)


ONE, OTHER = document((0, 9)), document((5, 5), partition=1)
BOTH = {0: ((0, 9),), 1: ((5, 5),)}


@pytest.mark.parametrize(
    ("messages", "partitions"),
    [
        (ONE, {0: ((0, 9),)}),
        ([ONE], {0: ((0, 9),)}),
        ([ONE, OTHER], BOTH),
        ((OTHER, ONE), BOTH),
        ([[ONE], [[OTHER]]], BOTH),
        (Lazy(ONE, OTHER), BOTH),
        (Lazy([ONE], Lazy(OTHER)), BOTH),
        (iter([ONE, OTHER]), BOTH),
        (json.dumps(ONE), {0: ((0, 9),)}),
        (json.dumps([ONE, OTHER]).encode(), BOTH),
        (repr([ONE, OTHER]), BOTH),
        (f"\n {ONE!r} ", {0: ((0, 9),)}),
        ([json.dumps(ONE), repr(OTHER)], BOTH),
        ([document((0, 4)), document((5, 9))], {0: ((0, 9),)}),
        ([document((5, 9)), document((0, 3))], {0: ((0, 3), (5, 9))}),
        ([ONE, document()], {0: ((0, 9),)}),
        (document(), {}),
    ],
)
def test_documents_of_the_query_are_taken_in_every_shape(messages: Any, partitions: dict[int, Any]) -> None:
    """One document, many, nested, lazy, or as text of JSON or of Python: the same offsets come out."""
    made = plan(messages)

    assert (made.topic, made.partitions, made.repeats) == ("orders", partitions, 0)
    assert list(made.partitions) == sorted(made.partitions)
    assert sum(source.count for source in made.sources) == made.count


@pytest.mark.parametrize(
    ("messages", "partitions", "repeats"),
    [
        (item(), {0: ((4, 4),)}, 0),
        ([item(1, 7), item(0, 5), item(0, 4)], {0: ((4, 5),), 1: ((7, 7),)}, 0),
        ([item(), item(), item()], {0: ((4, 4),)}, 2),
        (Lazy(item(), [item(0, 6)]), {0: ((4, 4), (6, 6))}, 0),
        (json.dumps([item(), item(0, 5)]), {0: ((4, 5),)}, 0),
        (repr([item()]), {0: ((4, 4),)}, 0),
        ([item(topic="orders")], {0: ((4, 4),)}, 0),
        ([item(0, 2**63 - 1)], {0: ((2**63 - 1, 2**63 - 1),)}, 0),
        ([], {}, 0),
        ("[]", {}, 0),
    ],
)
def test_plain_items_are_taken_in_every_shape(messages: Any, partitions: dict[int, Any], repeats: int) -> None:
    """Places typed by a person are sorted, and sent once where they were given more often."""
    made = plan(messages, "orders")

    assert (made.topic, made.partitions, made.repeats, made.sources) == ("orders", partitions, repeats, ())


def test_items_that_name_their_topic_need_no_other() -> None:
    """The topic may be in the items alone."""
    assert plan([item(topic="orders"), item(0, 5)]).topic == "orders"


def test_nothing_to_send_needs_no_topic() -> None:
    """An empty list is an empty plan, whatever it was about."""
    assert plan([]) == Plan("", {})


def test_batch_knows_the_size_of_the_whole() -> None:
    """Guard rails compare the plan of all batches, not that of one."""
    batches = [batch.to_xcom() for batch in offsets((0, 29)).batches(10)]

    assert (plan(batches[1]).count, plan(batches[1]).total) == (10, 30)
    assert (plan(batches).count, plan(batches).total) == (30, 30)
    assert plan(ONE).total == plan(ONE).count == 10


def test_one_batch_shares_the_rate_with_the_others() -> None:
    """A mapped task knows how many go on beside it; a plan of whole windows has nobody to share with."""
    batches = [batch.to_xcom() for batch in offsets((0, 29)).batches(10)]

    shares = [plan(messages).share for messages in (batches[0], batches[:2], batches, ONE, [ONE, OTHER])]
    assert shares == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])
    assert plan([item()], "orders").share == 1


def test_plan_of_one_document_keeps_its_digest() -> None:
    """The report can name the query that it came from."""
    assert plan(ONE).digest == plan([ONE]).digest == ONE["digest"]
    assert plan([ONE, OTHER]).digest is None
    assert plan([item()], "orders").digest is None


def test_receivers_are_said_in_half_a_sentence() -> None:
    """Without a consumer key everybody gets the copies, and with one it is advice."""
    assert receivers_of(None) == receivers_of("") == "every consumer of the topic"
    assert "consumer_key='billing', which is advisory" in receivers_of("billing")


def test_window_that_was_allowed_to_be_incomplete_is_taken() -> None:
    """Who told the query to warn only has decided."""
    assert plan(document((0, 9), complete=False, on_incomplete="warn")).count == 10


nested: Any = item()
for _ in range(3000):
    nested = [nested]
endless: list[Any] = []
endless.append(endless)

BAD = [
    (None, "orders", "is empty"),
    ("None", "orders", "is empty"),
    ("null", "orders", "is empty"),
    ([None], "orders", "is empty"),
    ("", "orders", "neither JSON nor"),
    ("{{ query.output }}", "orders", "neither JSON nor"),
    ("{{}}", "orders", "neither JSON nor"),
    ("0:4", "orders", "neither JSON nor"),
    (b"\xff\xfe\x00", "orders", "neither JSON nor"),
    ("[" * 100_000, "orders", "neither JSON nor"),
    (json.dumps(json.dumps([item()])), "orders", "text inside text"),
    (repr(repr([item()])), "orders", "text inside text"),
    (nested, "orders", "nested"),
    (endless, "orders", "nested"),
    ("[" * 50_000 + "]" * 50_000, "orders", "nested|neither JSON"),
    (5, "orders", "must be query.output, or a list of .*; got int"),
    (True, "orders", "must be .* got bool"),
    ([1, 2], "orders", "must be .* got int"),
    (object(), "orders", "must be .* got object"),
    ([item(), ONE], "orders", "mixes"),
    ([item()], None, "topic is missing"),
    ([item()], "", "topic is missing"),
    ([item()], "or ders", "topic must start"),
    ([item(topic="or/ders")], None, "topic must start"),
    ([item(topic=["orders"])], None, "topic must start"),
    ([item(topic="orders"), item(topic="payments")], None, "messages are of topic"),
    ([item(topic="payments")], "orders", "messages are of topic 'payments', but topic is 'orders'"),
    ([{}], "orders", r"messages\[\]\.partition must"),
    ([{"partition": 0}], "orders", r"messages\[\]\.message_offset must"),
    ([item(-1)], "orders", r"messages\[\]\.partition must"),
    ([item("0")], "orders", r"messages\[\]\.partition must"),
    ([item(True)], "orders", r"messages\[\]\.partition must"),
    ([item(2**31)], "orders", r"messages\[\]\.partition must"),
    ([item(0, -1)], "orders", r"messages\[\]\.message_offset must"),
    ([item(0, "4")], "orders", r"messages\[\]\.message_offset must"),
    ([item(0, 4.0)], "orders", r"messages\[\]\.message_offset must"),
    ([item(0, False)], "orders", r"messages\[\]\.message_offset must"),
    ([item(0, None)], "orders", r"messages\[\]\.message_offset must"),
    ([item(0, 2**63)], "orders", r"messages\[\]\.message_offset must"),
    ([item(offset=4)], "orders", "unknown field 'offset'"),
    ([{1: 2, "x": 3}], "orders", "unknown field"),
    ({**ONE, "schema": "mqs.offsets/9"}, None, "schema"),
    ({"schema": "mqs.offsets/1", 1: 2}, None, "not a valid"),
    ({"partitions": {"0": {"ranges": [[0, 9]]}}}, "orders", "schema"),
    ({**ONE, "count": 9}, None, "digest"),
    ({name: value for name, value in ONE.items() if name != "digest"}, None, "digest"),
    (document((0, 9), endpoint="other.example.com"), None, "queried at endpoint 'other.example.com'"),
    (document((0, 9), instance_id="i-2"), None, "queried at instance_id 'i-2'"),
    (document((0, 9), complete=False), None, "not complete"),
    (document((0, 9), topic="or/ders"), None, "topic must start"),
    ([ONE, document((0, 9), partition=1, topic="payments")], None, "messages are of topic"),
    (ONE, "payments", "messages are of topic 'orders', but topic is 'payments'"),
    ([ONE, ONE], None, "partition 0 twice"),
    ([ONE, document((9, 12))], None, "partition 0 twice"),
    (document((0, 9), batch=Batch(0, 2, "many")), None, "not a valid"),  # type: ignore[arg-type]  # that is the point
]


@pytest.mark.parametrize(("messages", "topic", "sentence"), BAD, ids=[f"{n}-{bad[2]:.20}" for n, bad in enumerate(BAD)])
def test_bad_input_is_one_sentence(messages: Any, topic: Any, sentence: str) -> None:
    """Nothing is sent for input that is wrong; the sentence names the field."""
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        plan(messages, topic)

    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_signed_nonsense_is_refused_too() -> None:
    """A document with a digest that fits is checked like any other."""
    made = {"schema": "mqs.offsets/1", "partitions": {"0": None}}

    with pytest.raises(ConfigurationError, match="not a valid"):
        plan({**made, "digest": digest_of(made)})
