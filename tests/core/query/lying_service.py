"""A service in memory whose answers to a window query are wrong in every way that was seen or can be thought of."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from airflow_provider_mqs.core.client.flow import Parallel, Request, Response, Step, adrive, drive
from airflow_provider_mqs.core.query.slices import Slice
from airflow_provider_mqs.core.query.window_reader import WindowReader
from tests.support import START_MS, local, ref_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_mqs.core.values.message import Rows

WIDTH_MS = 3_600_000
WINDOW = Slice(START_MS, START_MS + WIDTH_MS)

TOTALS: Mapping[str, Callable[[int, int], Any]] = {
    "true": lambda total, _: total,
    "float": lambda total, _: float(total),
    "text": lambda total, _: str(total),
    "x 0.9": lambda total, _: int(total * 0.9),
    "x 0.5": lambda total, _: total // 2,
    "1 below": lambda total, _: total - 1,
    "50 below": lambda total, _: total - 50,
    "size of the page": lambda _, shown: shown,
    "0": lambda *_: 0,
    "-1": lambda *_: -1,
    "null": lambda *_: None,
    "absent": lambda *_: ...,
    "NaN": lambda *_: float("nan"),
    "infinite": lambda *_: float("inf"),
    "a word": lambda *_: "many",
    "the cap": lambda *_: 500,
    "1 above": lambda total, _: total + 1,
    "x 2": lambda total, _: total * 2,
    "2^31": lambda *_: 2**31,
    "10^18": lambda *_: 10**18,
    "2^63": lambda *_: 2**63,
}


@dataclass
class LyingService:
    """Rows ``(timestamp, partition, message_offset)``, and how the service shows them."""

    rows: list[tuple[int, int, int]]
    cap: int | None = None
    hides: bool = False
    total: str = "true"
    paging: str = "page0"
    clamp: int = 50
    asked: int = 50
    """Rows that the connection wants of a page."""
    order: str = "time"
    inclusive: bool = True
    narrows: bool = True
    content: bool = True
    arrivals: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Rows that come after so many answers."""
    change: Callable[[dict[str, Any]], Any] = lambda row: row
    """What is done to each row that is shown."""
    requests: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)  # noqa: S311 - repeatable
        self.came: list[tuple[int, int, int]] = []
        self.versions: list[frozenset[tuple[int, int]]] = []

    def refs(self) -> set[tuple[int, int]]:
        """Partition and offset of each row in the window."""
        return {(row[1], row[2]) for row in self.rows if WINDOW.start_ms <= row[0] < WINDOW.end_ms}

    def read(self, *, side_by_side: bool = False, partitions: int | None = 3) -> tuple[set[tuple[int, int]], list[str]]:
        """Read the window; return what was found, and why it may be incomplete."""
        found: set[tuple[int, int]] = set()

        def sink(rows: Rows) -> None:
            assert all(WINDOW.start_ms <= row.timestamp < WINDOW.end_ms for row in rows)
            found.update(map(ref_of, rows))

        reader = WindowReader(
            local(page_size=self.asked).api, "orders", sink, None if partitions is None else range(partitions)
        )
        if side_by_side:
            asyncio.run(adrive(reader.read(WINDOW), self._aperform))
        else:
            drive(reader.read(WINDOW), self._perform)
        return found, reader.why_incomplete

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Parallel):
            return [drive(flow, self._perform) for flow in step.flows]
        assert isinstance(step, Request)
        return self._answer(step)

    async def _aperform(self, step: Step) -> Any:
        if isinstance(step, Parallel):
            flows, results = enumerate(step.flows), {}

            async def work() -> None:
                for index, flow in flows:
                    results[index] = await adrive(flow, self._aperform)

            await asyncio.gather(*(work() for _ in range(4)))
            return [results[index] for index in sorted(results)]
        assert isinstance(step, Request)
        for _ in range(self.rng.randrange(3)):
            await asyncio.sleep(0)
        answer = self._answer(step)
        for _ in range(self.rng.randrange(3)):
            await asyncio.sleep(0)
        return answer

    def _answer(self, request: Request) -> Response:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        self.requests += 1
        body = self._single(asked) if "message_offset" in asked else self._page(asked)
        if self.requests in self.arrivals:
            self.rows.append(self.arrivals[self.requests])
        if body is None:
            return Response(400, {}, b'{"error_code": "MQS.00400001"}')
        return Response(200, {}, json.dumps(body).encode())

    def _single(self, asked: dict[str, str]) -> dict[str, Any] | None:
        if not self.content:
            return None
        ref = int(asked["partition"]), int(asked["message_offset"])
        rows = [self._row(row) for row in self.rows if (row[1], row[2]) == ref]
        return {"messages": rows, "total": len(rows)}

    def _page(self, asked: dict[str, str]) -> dict[str, Any]:
        start, end = int(asked["start_time"]), int(asked["end_time"]) + self.inclusive
        held = [row for row in self.rows if start <= row[0] < end]
        if "partition" in asked and self.narrows:
            held = [row for row in held if row[1] == int(asked["partition"])]
        held.sort(key=self._sort_key)
        limit, offset = min(self.clamp, int(asked["limit"])), int(asked["offset"])
        skip = {"row": offset, "page0": offset * limit, "page1": max(0, offset - 1) * limit}[self.paging]
        reachable = held if self.cap is None else held[: self.cap]
        shown = reachable[skip : skip + limit]
        total = 10**18 if self.total == "10^18 once" and self.requests == 1 else len(reachable if self.hides else held)
        total = TOTALS.get(self.total, TOTALS["true"])(total, len(shown))
        body = {"messages": [self.change(self._row(row)) for row in shown]}
        return body if total is ... else {**body, "total": total}

    def _sort_key(self, row: tuple[int, int, int]) -> tuple[int, ...]:
        timestamp, partition, offset = row
        return {
            "time": (timestamp, partition, offset),
            "newest first": (-timestamp, partition, offset),
            "partition": (partition, offset),
            "offset": (offset, partition),
            "mixed": (hash((timestamp, offset)) % 1009, partition, offset),
        }[self.order]

    @staticmethod
    def _row(row: tuple[int, int, int]) -> dict[str, Any]:
        return {"partition": row[1], "message_offset": row[2], "timestamp": row[0], "size": 1}


def spread(count: int, *, moments: int | None = None, partitions: int = 3) -> list[tuple[int, int, int]]:
    """``count`` rows spread evenly over the window, or over so many moments of it."""
    moments = moments or max(count, 1)
    return [
        (
            START_MS + (number * moments // max(count, 1)) * WIDTH_MS // moments,
            number % partitions,
            number // partitions,
        )
        for number in range(count)
    ]
