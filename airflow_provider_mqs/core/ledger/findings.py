"""
What executions find out about each other: facts about one execution that its own ledger does not say.

Nobody writes another's ledger. An execution that died with messages in doubt, or could not see its copies, never says
what became of them; whoever finds it out, its retry, another resend that proves for all or ``VerifyReplayOperator``,
writes a finding beside its ledger. Whoever reads the ledger applies all findings about it.

Findings are facts about executions that have stopped, so they are never taken back, and several just add up: each is
written once, into a slot of its own (see ``slots``). A finding that is repeated, or read late, does no harm: a message
stays in doubt a little longer. Where two contradict each other, a message that was sent counts as sent.

A finding is written before the ledger of the one that found it. So a crash in between leaves a message that was sent
with the execution that has posted it, where it belongs, and never with one that has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.ledger.slots import Slots
from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.exceptions import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_mqs.core.client.flow import Flow
    from airflow_provider_mqs.core.ledger.stores import Store
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

_OFFSETS = ("sent", "unsent", "copies", "missing")


@dataclass(frozen=True, slots=True)
class Finding:
    """What others know about one execution."""

    sent: OffsetsByPartition = field(default_factory=dict)
    """Messages that it had claimed, and that a POST of its own has put into the topic."""
    unsent: OffsetsByPartition = field(default_factory=dict)
    """Messages that it had claimed, and that no POST of its own has put into the topic, nor will."""
    copies: OffsetsByPartition = field(default_factory=dict)
    """Rows that are its copies."""
    missing: OffsetsByPartition = field(default_factory=dict)
    """Messages of which a POST was acknowledged, and that surely have no copy."""
    whole: bool = False
    """Whether ``copies`` are all that it has made, or ever will."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {name: offset_ranges.to_json(getattr(self, name)) for name in _OFFSETS} | {"whole": self.whole}

    @classmethod
    def from_json(cls, value: Any, store: str) -> Finding:
        """Read what ``to_json`` wrote; ``store`` is its name for errors."""
        try:
            offsets = {name: partition_offsets.from_json(value[name], name) for name in _OFFSETS}
            return cls(**offsets, whole=value["whole"] is True)
        except (KeyError, TypeError, ConfigurationError) as error:
            raise StoreError(
                f"What was found out about an earlier replay cannot be read in {store} ({error}); restore it, or "
                "remove it if you know what was sent."
            ) from error


def union(findings: Iterable[Finding]) -> Finding:
    """Return what several findings about one execution say together."""
    listed = list(findings)
    offsets = {name: partition_offsets.union(*(getattr(one, name) for one in listed)) for name in _OFFSETS}
    return Finding(**offsets, whole=any(one.whole for one in listed))


def findings_about(stores: Sequence[Store], token: str) -> Flow[Finding]:
    """Return what anybody has found out about an execution; two reads of each store if nobody has."""
    found: list[Finding] = []
    for store in stores:
        values: list[Mapping[str, Any]] = []
        yield from Slots(store, _prefix(token), values.append).read()
        found += [Finding.from_json(value, store.name) for value in values]
    return union(found)


def add_finding(store: Store, token: str, finding: Finding, *, finder: str, jitter: Callable[[], float]) -> Flow[None]:
    """Write what the execution ``finder`` has found out about another."""
    slots = Slots(store, _prefix(token), lambda _: None, jitter=jitter)
    yield from slots.add(finder, finding.to_json())


def _prefix(token: str) -> str:
    return f"found-{token}"
