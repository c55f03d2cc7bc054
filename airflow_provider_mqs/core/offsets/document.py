"""
The offsets of a window, as the query pushes them to XCom and the resend takes them (``mqs.offsets/1``).

The digest guards against accident and mix-up (an XCom edited by hand, or of another instance), not against someone who
recomputes it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.offsets import offset_ranges, partition_offsets
from airflow_provider_mqs.core.values.time_window import TimeWindow
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_mqs.core.offsets.offset_ranges import Ranges
    from airflow_provider_mqs.core.offsets.partition_offsets import OffsetsByPartition

FAMILY = "mqs.offsets/"
SCHEMA = f"{FAMILY}1"


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """What a window holds of one partition."""

    ranges: Ranges
    first_timestamp: int
    """Smallest timestamp in the window, epoch ms; in a batch it is that of the whole window, and so a bound."""
    last_timestamp: int
    """Largest timestamp, with the same meaning."""

    @property
    def count(self) -> int:
        """How many offsets."""
        return offset_ranges.count(self.ranges)

    def to_xcom(self, written: Any) -> dict[str, Any]:
        """Write it as JSON; ``written`` are its ranges, packed or not."""
        return {
            "count": self.count,
            ("packed" if isinstance(written, str) else "ranges"): written,
            "first_timestamp": self.first_timestamp,
            "last_timestamp": self.last_timestamp,
        }

    @classmethod
    def from_xcom(cls, value: Mapping[str, Any], name: str) -> PartitionOffsets:
        """Read what ``to_xcom`` wrote; ``name`` is for the error."""
        ranges = offset_ranges.from_json(value["packed"] if "packed" in value else value["ranges"], name)
        return cls(ranges, int(value["first_timestamp"]), int(value["last_timestamp"]))


@dataclass(frozen=True, slots=True)
class Batch:
    """Which part of a window a document holds."""

    index: int
    """0 for the first."""
    of: int
    """How many batches there are."""
    total: int
    """Offsets in all of them."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """
    The offsets of a window.

    :param endpoint: host that was asked
    :param instance_id: instance that was asked
    :param topic: topic name
    :param window: the time window
    :param partitions: by partition, only those that hold something
    :param filters: the filters that were applied
    :param complete: whether every message of the window is in
    :param on_incomplete: what the query does if it is not: ``fail`` or ``warn``
    :param excluded_copies: copies of earlier replays that were left out
    :param batch: which part this is, ``None`` for the whole
    """

    endpoint: str
    instance_id: str
    topic: str
    window: TimeWindow
    partitions: Mapping[int, PartitionOffsets]
    filters: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    on_incomplete: str = "fail"
    excluded_copies: int = 0
    batch: Batch | None = None

    @property
    def count(self) -> int:
        """How many offsets, over all partitions."""
        return sum(partition.count for partition in self.partitions.values())

    @property
    def ranges(self) -> OffsetsByPartition:
        """The offsets alone."""
        return {number: partition.ranges for number, partition in self.partitions.items()}

    def to_xcom(self) -> dict[str, Any]:
        """
        Write it as plain JSON.

        :return: the document (``mqs.offsets/1``), with its digest
        """
        ranges = offset_ranges.to_json(self.ranges)
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "endpoint": self.endpoint,
            "instance_id": self.instance_id,
            "topic": self.topic,
            "window": self.window.to_xcom(),
            "filters": dict(self.filters),
            "count": self.count,
            "complete": self.complete,
            "on_incomplete": self.on_incomplete,
            "excluded_copies": self.excluded_copies,
            "batch": None if self.batch is None else asdict(self.batch),
            "partitions": {number: self.partitions[int(number)].to_xcom(written) for number, written in ranges.items()},
        }
        return {**document, "digest": digest_of(document)}

    @classmethod
    def from_xcom(cls, document: Mapping[str, Any]) -> Offsets:
        """
        Read a document and check it.

        :param document: what ``to_xcom`` wrote, perhaps on another worker
        :return: the offsets
        :raises ConfigurationError: another schema, edited since, or not what the schema says
        """
        if document.get("schema") != SCHEMA:
            raise ConfigurationError(
                f"messages has schema {document.get('schema')!r:.60}; this version reads {SCHEMA!r}."
            )
        try:
            # first: that a document was edited is the better message than what is wrong with the edit
            _check_digest(document)
            batch = document["batch"]
            offsets = cls(
                endpoint=str(document["endpoint"]),
                instance_id=str(document["instance_id"]),
                topic=str(document["topic"]),
                window=TimeWindow.from_xcom(document["window"]),
                partitions={
                    int(number): PartitionOffsets.from_xcom(value, f"partitions.{number}")
                    for number, value in document["partitions"].items()
                },
                filters=dict(document["filters"]),
                complete=document["complete"] is True,
                on_incomplete=str(document["on_incomplete"]),
                excluded_copies=int(document["excluded_copies"]),
                batch=None if batch is None else Batch(int(batch["index"]), int(batch["of"]), int(batch["total"])),
            )
        except ConfigurationError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ConfigurationError("messages is not a valid mqs.offsets/1 document.") from error
        if offsets.count != document.get("count"):
            raise ConfigurationError("messages has another count than its ranges hold.")
        return offsets

    def batches(self, size: int) -> list[Offsets]:
        """
        Cut the offsets into batches for dynamic task mapping, partition by partition.

        :param size: offsets a batch; the last may have fewer
        :return: the batches; none for an empty window
        """
        cuts = list(_cut(self.ranges, size))
        return [
            replace(
                self,
                partitions={
                    number: replace(self.partitions[number], ranges=tuple(ranges)) for number, ranges in cut.items()
                },
                batch=Batch(index, len(cuts), self.count),
            )
            for index, cut in enumerate(cuts)
        ]


def each_once(documents: Iterable[Offsets]) -> list[Offsets]:
    """
    Leave out of each document of a topic what an earlier one holds: an event may come twice, and overlap others.

    A document of which nothing is left stays, unless it came twice: it may say that it is not complete.
    """
    before: OffsetsByPartition = {}
    seen: list[Offsets] = []
    kept: list[Offsets] = []
    for document in documents:
        if document not in seen:
            left = partition_offsets.difference(document.ranges, before)
            partitions = {number: replace(document.partitions[number], ranges=left[number]) for number in left}
            before = partition_offsets.union(before, document.ranges)
            seen.append(document)
            kept.append(replace(document, partitions=partitions))
    return kept


def digest_of(document: Mapping[str, Any]) -> str:
    """Compute the digest of a document: of the rest as JSON with sorted keys, no spaces, UTF-8."""
    rest = {name: value for name, value in document.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _check_digest(document: Mapping[str, Any]) -> None:
    if document.get("digest") != digest_of(document):
        raise ConfigurationError(
            "messages was changed after the query wrote it (its digest does not match): run the query again."
        )


def _cut(offsets: OffsetsByPartition, size: int) -> Iterator[dict[int, list[tuple[int, int]]]]:
    cut: dict[int, list[tuple[int, int]]] = {}
    room = size
    for number in sorted(offsets):
        for start, last in offsets[number]:
            first = start
            while first <= last:
                end = min(last, first + room - 1)
                cut.setdefault(number, []).append((first, end))
                room -= end - first + 1
                first = end + 1
                if not room:
                    yield cut
                    cut, room = {}, size
    if cut:
        yield cut
