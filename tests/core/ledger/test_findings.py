"""What executions find out about each other comes back as it was written, and adds up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.ledger.findings import Finding, add_finding, findings_about, union
from airflow_provider_mqs.core.offsets.partition_offsets import from_refs
from airflow_provider_mqs.exceptions import StoreError
from tests.core.ledger.stepping import World
from tests.support import MemoryStore

OFFSETS = st.sets(st.tuples(st.integers(0, 2), st.integers(0, 20))).map(from_refs)
FINDINGS = st.builds(Finding, OFFSETS, OFFSETS, OFFSETS, OFFSETS, st.booleans())


@given(st.lists(FINDINGS, max_size=3), st.integers(1, 2))
def test_findings_of_several_come_back_together(findings: list[Finding], number: int) -> None:
    """From whichever store has them; those about others do not."""
    world, stores = World(), [MemoryStore() for _ in range(number)]
    for place, finding in enumerate(findings):
        store = stores[place % number]
        world.run(add_finding(store, "a", finding, finder=f"finder {place}", jitter=lambda: 0.5))

    assert world.run(findings_about(stores, "a")) == union(findings)
    assert world.run(findings_about(stores, "b")) == Finding()


@pytest.mark.parametrize("value", [3, [], {}, {"sent": 1}])
def test_a_broken_finding_is_an_error(value: Any) -> None:
    """Nothing is sent on a guess."""
    store = MemoryStore()
    store.set("found-a-0-e", value)

    with pytest.raises(StoreError, match="cannot be read in memory"):
        World().run(findings_about([store], "a"))
