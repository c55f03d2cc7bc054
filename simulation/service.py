"""
The service: the core of the local one, on the virtual clock, with a log of what really happened.

The oracle reads this log and nothing else of the service: each row with the moment of its append, what it is a copy of
and whose POST made it, and each POST that was acknowledged without being executed. It is written where rows enter the
store, which is below everything that may lie to a client.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import KINDS, NEVER, Rule
from airflow_provider_mqs.emulator.service import Service
from airflow_provider_mqs.emulator.state import State
from airflow_provider_mqs.emulator.store import Resend, Store, StoredMessage, Topic
from simulation.virtual_time import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_mqs.emulator.http import HttpRequest, HttpResponse
    from simulation.schedule import Strike
    from simulation.virtual_time import World

TOPIC = "orders"
_OK = 200
Ref = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the topic, as it really is."""

    ref: Ref
    timestamp_ms: int
    value: str
    appended_s: float
    visible_s: float
    source: Ref | None = None
    """What it is a copy of; ``None`` for what a producer wrote."""
    consumer_key: str | None = None
    by: str = ""
    """The process whose POST made it."""
    posted_s: float = 0.0
    """When that process sent the POST."""


@dataclass(frozen=True, slots=True)
class LostAppend:
    """A POST that was acknowledged, and whose copy never came to be."""

    source: Ref
    consumer_key: str | None
    by: str
    posted_s: float


class RecordingStore(Store):
    """The service's data, which tells of each row that enters it."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[StoredMessage] = []

    def add(self, messages: Iterable[StoredMessage]) -> None:
        """Store messages."""
        held = list(messages)
        super().add(held)
        self.added += held

    def log_resend(self, resend: Resend) -> None:
        """Note nothing: the log of this simulation has it."""

    def log_resend_request(self, time_ms: int, trace: str, body: str, status: int, fault: str) -> None:
        """Note nothing either."""


class SimulatedService:
    """The service as processes reach it, and as the oracle sees it."""

    def __init__(self) -> None:
        self.world: World
        self.rows: dict[Ref, Row] = {}
        self.lost: list[LostAppend] = []
        self.posted: list[tuple[float, str, Ref]] = []
        self.store = RecordingStore()
        self._ids = count()
        self.state = State(self.store, clock=lambda: EPOCH_S + self.world.now, new_id=lambda: f"{next(self._ids):032x}")
        self.core = Service(self.state)

    def begin(self, world: World, seed: int, partitions: int, **behaviour: Any) -> None:
        """Begin anew, with an empty topic."""
        self.world = world
        self.rows, self.lost, self.posted = {}, [], []
        self._ids = count()
        self.core.reset()
        self.store.added.clear()
        self.state._all_visible_ms = 0
        self.state.faults.seed = seed
        self.state.behaviour = Behaviour(token_bytes=200, **behaviour)
        self.store.put_topic(Topic(TOPIC, partitions, 720))

    def handle(self, request: HttpRequest, by: str, posted_s: float, strike: Strike | None) -> HttpResponse:
        """Answer a request, as the schedule will have it."""
        faults, what = self.state.faults, strike.what if strike else ""
        if request.method == "POST" and request.path.endswith("/action"):
            body = json.loads(request.body)
            self.posted.append((posted_s, by, (body["partition"], body["message_offset"])))
        if what in KINDS:
            setattr(faults, what, Rule(next=1, operations=KINDS[what].operations))
        if what == "hidden" and strike:
            faults.visible_after_s = strike.seconds
        try:
            answer = self.core.handle(request)
        finally:
            if what in KINDS:
                setattr(faults, what, NEVER)
            if what == "hidden":
                faults.visible_after_s = 0.0
        self._record(by, posted_s)
        if what == "lost_after_ack" and answer.status == _OK:
            self._lose(json.loads(request.body), by, posted_s)
        return answer

    def produce(self, partition: int, **fields: Any) -> None:
        """Write a message, as a producer does."""
        message = self.state.append(TOPIC, partition, **fields)
        self._record("", 0.0)
        self.world.note("a producer", f"writes ({partition}, {message.message_offset}): {message.value[:20]!r}")

    def heal(self) -> None:
        """Let nothing go wrong any more; the clock stays as it is."""
        faults = self.state.faults
        seed, ahead_s = faults.seed, faults.clock_offset_s
        faults.clear()
        faults.seed, faults.clock_offset_s = seed, ahead_s

    def _record(self, by: str, posted_s: float) -> None:
        for one in self.store.added:
            ref = one.partition, one.message_offset
            source = None if one.source_offset is None else (one.partition, one.source_offset)
            visible_s = one.visible_ms / 1000 - EPOCH_S if one.visible_ms else self.world.now
            key = one.headers.get("consumer_key")
            self.rows[ref] = Row(
                ref, one.timestamp_ms, one.value, self.world.now, visible_s, source, key, by if source else "", posted_s
            )
            if source is not None:
                self.world.note("the service", f"appends a copy of {source} as {ref}")
        self.store.added.clear()

    def _lose(self, body: dict[str, Any], by: str, posted_s: float) -> None:
        ref = body["partition"], body["message_offset"]
        self.lost.append(LostAppend(ref, body.get("consumer_key"), by, posted_s))
        self.world.note("the service", f"acknowledges {ref} and loses it")
