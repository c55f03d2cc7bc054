"""What is extrapolated from the measurements, and how large the documents of a batch are."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_mqs.core.offsets.document import Offsets
from benchmarks import plan, report, sizing
from benchmarks.documents import batch_of, ledger_bytes, scatter, xcom_bytes
from benchmarks.measuring import ROOT
from benchmarks.sizing import Cost, cost_of, cut_of


def group(name: str, messages: int, **result: float) -> dict[str, Any]:
    return {name: {"messages": messages, "results": [result]}}


@pytest.mark.parametrize("messages", [1, 10_000, 10_001, 12_345_678, *sizing.SIZES])
def test_a_cut_raises_no_limit_and_leaves_nothing_out(messages: int) -> None:
    """Airflow maps every list, and the resend accepts every batch."""
    cut = cut_of(messages)

    assert cut.batches <= sizing.MOST_BATCHES
    assert cut.size <= sizing.MOST_MESSAGES
    assert cut.windows * cut.batches * cut.size >= messages


def test_few_messages_need_no_batches() -> None:
    """One worker resends ten thousand in less than a minute."""
    assert cut_of(10_000) == sizing.Cut(windows=1, batches=1, size=10_000)


def test_a_hundred_million_messages_just_fit_into_one_window() -> None:
    """They are a thousand batches, each as large as the resend accepts."""
    assert cut_of(100_000_000) == sizing.Cut(windows=1, batches=1_000, size=100_000)
    assert cut_of(1_000_000_000) == sizing.Cut(windows=10, batches=1_000, size=100_000)


def test_workers_run_their_batches_in_turns() -> None:
    """Seventeen batches on sixteen workers take two turns in each window."""
    cut = sizing.Cut(windows=3, batches=17, size=10)

    assert (cut.workers, cut.turns) == (16, 6)


def test_time_is_messages_by_latency_over_requests_in_flight() -> None:
    """A thousand requests of 20 ms, sixteen at a time, take 1.25 s."""
    assert Cost(1.0, 0.0, 0.0001).seconds(1_000, 0.02) == pytest.approx(1.25)
    assert Cost(0.02, 0.0, 0.0001).seconds(50_000, 0.02) == pytest.approx(1.25)


def test_time_beyond_the_latency_is_added() -> None:
    """The addition does not depend on the latency."""
    assert Cost(1.0, 0.004, 0.0001).seconds(1_600, 0.02) == pytest.approx(2.4)


def test_no_latency_is_so_short_that_the_processor_costs_nothing() -> None:
    """A worker never gets through more requests than its processor can."""
    assert Cost(1.0, 0.0, 0.0005).seconds(1_000, 0.001) == pytest.approx(0.5)


def test_costs_are_taken_by_request() -> None:
    """Two hundred requests, 16 in flight, took 0.3 s: 24 ms each, of which 20 ms are the service's."""
    measured = group("ours", 100, wall_s=0.3, cpu_s=0.1, requests=200)

    assert cost_of(measured, "ours") == Cost(2.0, pytest.approx(0.004), 0.0005)


def test_the_documents_are_those_of_the_package() -> None:
    """A batch in the middle holds as many messages as it should, and the package can read it."""
    document = json.loads(json.dumps(batch_of(1_000_000, 10_000).to_xcom()))

    batch = Offsets.from_xcom(document)
    assert (batch.count, batch.batch and batch.batch.of) == (10_000, 100)
    assert xcom_bytes(batch) == len(json.dumps(document))


def test_one_batch_is_the_window_itself() -> None:
    """It is what the query pushes without `batch_size`: one document for all partitions."""
    whole = batch_of(1_000, 10_000)

    assert (whole.batch, len(whole.partitions)) == (None, plan.PARTITIONS)


def test_the_size_of_a_batch_does_not_depend_on_their_number() -> None:
    """Contiguous offsets cost bytes by ranges, not by messages; only some digits are added."""
    few, many = batch_of(1_000_000, 10_000), batch_of(100_000_000, 100_000)

    assert xcom_bytes(many) - xcom_bytes(few) < 20
    assert ledger_bytes(many) - ledger_bytes(few) < 100


def test_gaps_cost_bytes() -> None:
    """The number of messages is the same, but their offsets are not contiguous."""
    close, scattered = batch_of(1_000_000, 10_000), batch_of(1_000_000, 10_000, scattered=True)

    assert scattered.count == close.count
    assert xcom_bytes(scattered) > 2 * xcom_bytes(close)
    assert ledger_bytes(scattered) > 2 * ledger_bytes(close)


def test_scattered_offsets_ascend_with_gaps() -> None:
    """They are as many as requested, in several ranges that do not touch."""
    ranges = scatter(100)

    assert sum(last - first + 1 for first, last in ranges) == 100
    assert all(after[0] > before[1] + 1 for before, after in pairwise(ranges))
    assert len(ranges) > 50


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.25, "1,250 ms"), (59.94, "59.9 s"), (120, "2.0 min"), (7_200, "2.0 h"), (172_800, "2.0 d")]
)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    """The unit is the largest of which there are at least two."""
    assert sizing.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(2_047, "2,047 B"), (2_048, "2.0 KiB"), (3 * 2**20, "3.0 MiB")])
def test_bytes_are_written_for_people(count: int, text: str) -> None:
    """The unit is the largest of which there are at least two."""
    assert sizing.size_text(count) == text


def test_the_page_has_a_line_for_each_size() -> None:
    """There is a line for the time and one for the database, whatever was measured."""
    result = {"wall_s": 1.0, "cpu_s": 0.1, "requests": 500, "xcom": 1_988}
    found = {
        "query": group(plan.QUERY, 20_000, **result),
        "resend": group(plan.VERIFIED, 500, **result),
        "cases": group(plan.CAPPED, 20_000, **result),
    }

    lines = sizing.page(found).splitlines()

    assert [sum(line.startswith(f"| {size:,} |") for line in lines) for size in sizing.SIZES] == [2] * 7


def test_the_page_of_sizes_has_its_mark() -> None:
    """Otherwise the next run would leave the old numbers there."""
    assert (ROOT / "docs/sizing.md").read_text().count(report.MARK) == 1
