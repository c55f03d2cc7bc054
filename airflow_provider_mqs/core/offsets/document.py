"""
The offsets of a window, as the query pushes them to XCom and the resend takes them (``mqs.offsets/1``).

The digest guards against accident and mix-up (an XCom edited by hand, or of another instance), not against somebody who
computes it anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
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
class PartitionEntry:
    """
    What a window holds of one partition.

    :param ranges: the offsets, as inclusive runs
    :param first_timestamp: smallest timestamp in the window, epoch ms; also in a batch, where it is a bound
    :param last_timestamp: largest timestamp in the window, epoch ms
    """

    ranges: Ranges
    first_timestamp: int
    last_timestamp: int

    @property
    def count(self) -> int:
        """How many offsets."""
        return offset_ranges.count(self.ranges)


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Which part of a window a document holds.

    :param index: 0 for the first
    :param of: how many there are
    :param total: offsets in all of them
    """

    index: int
    of: int
    total: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """
    The offsets of a window.

    :param endpoint: host that was asked
    :param instance_id: instance that was asked
    :param topic: topic name
    :param window: the time window
    :param partitions: by partition, only those that hold something
    :param filters: the filters that were applied, as given
    :param complete: whether every message of the window is in
    :param on_incomplete: what the query was told to do when it is not: ``fail`` or ``warn``
    :param excluded_copies: copies of earlier replays that were left out
    :param batch: which part this is, ``None`` for the whole
    """

    endpoint: str
    instance_id: str
    topic: str
    window: TimeWindow
    partitions: Mapping[int, PartitionEntry]
    filters: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    on_incomplete: str = "fail"
    excluded_copies: int = 0
    batch: Batch | None = None

    @property
    def count(self) -> int:
        """How many offsets, over all partitions."""
        return sum(partition.count for partition in self.partitions.values())

    def to_xcom(self) -> dict[str, Any]:
        """
        Write it as plain JSON.

        :return: the document of DESIGN "Offsets, as XCom", with its digest
        """
        sets = offset_ranges.to_json({number: part.ranges for number, part in self.partitions.items()})
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
            "batch": _batch_json(self.batch),
            "partitions": {
                number: _partition_json(self.partitions[int(number)], value) for number, value in sets.items()
            },
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
            _check_digest(document)
            offsets = cls._read(document)
        except ConfigurationError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ConfigurationError("messages is not a whole mqs.offsets/1 document.") from error
        if offsets.count != document.get("count"):
            raise ConfigurationError("messages says another count than its ranges hold.")
        return offsets

    def batches(self, size: int) -> list[Offsets]:
        """
        Cut the offsets into batches for dynamic task mapping, partition by partition.

        :param size: offsets a batch, the last may have fewer
        :return: the batches; none for an empty window
        """
        pieces = list(self._pieces(size))
        return [
            replace(
                self,
                partitions={
                    number: replace(self.partitions[number], ranges=tuple(ranges)) for number, ranges in piece.items()
                },
                batch=Batch(index, len(pieces), self.count),
            )
            for index, piece in enumerate(pieces)
        ]

    def _pieces(self, size: int) -> Iterator[dict[int, list[tuple[int, int]]]]:
        piece: dict[int, list[tuple[int, int]]] = {}
        room = size
        for number, (start, last) in self._runs():
            first = start
            while first <= last:
                end = min(last, first + room - 1)
                piece.setdefault(number, []).append((first, end))
                room -= end - first + 1
                first = end + 1
                if not room:
                    yield piece
                    piece, room = {}, size
        if piece:
            yield piece

    def _runs(self) -> Iterator[tuple[int, tuple[int, int]]]:
        for number in sorted(self.partitions):
            for run in self.partitions[number].ranges:
                yield number, run

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Offsets:
        batch = document["batch"]
        return cls(
            endpoint=str(document["endpoint"]),
            instance_id=str(document["instance_id"]),
            topic=str(document["topic"]),
            window=TimeWindow.from_xcom(document["window"]),
            partitions={
                int(number): _read_partition(number, value) for number, value in document["partitions"].items()
            },
            filters=dict(document["filters"]),
            complete=document["complete"] is True,
            on_incomplete=str(document["on_incomplete"]),
            excluded_copies=int(document["excluded_copies"]),
            batch=None if batch is None else Batch(int(batch["index"]), int(batch["of"]), int(batch["total"])),
        )


def each_once(documents: Iterable[Offsets]) -> list[Offsets]:
    """
    Leave out of each document what an earlier one holds, as where an event came twice.

    A document of which nothing is left stays: it may say that it is not complete.

    :param documents: of one topic; equal ones count once
    :return: documents that do not overlap, and hold the same messages together
    """
    told: OffsetsByPartition = {}
    given: list[Offsets] = []
    kept: list[Offsets] = []
    for document in documents:
        if document not in given:
            places = {number: part.ranges for number, part in document.partitions.items()}
            left = partition_offsets.difference(places, told)
            partitions = {number: replace(document.partitions[number], ranges=left[number]) for number in left}
            told = partition_offsets.union(told, places)
            given.append(document)
            kept.append(replace(document, partitions=partitions))
    return kept


def digest_of(document: Mapping[str, Any]) -> str:
    """
    Compute the digest of a document.

    :param document: with or without its ``digest``
    :return: ``sha256:`` and the hash of the rest as JSON with sorted keys, no spaces, UTF-8
    """
    rest = {name: value for name, value in document.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _check_digest(document: Mapping[str, Any]) -> None:
    if document.get("digest") != digest_of(document):
        raise ConfigurationError(
            "messages was changed after the query wrote it (its digest does not fit); run the query again."
        )


def _batch_json(batch: Batch | None) -> dict[str, int] | None:
    return None if batch is None else {"index": batch.index, "of": batch.of, "total": batch.total}


def _partition_json(partition: PartitionEntry, offsets: list[list[int]] | str) -> dict[str, Any]:
    return {
        "count": partition.count,
        ("packed" if isinstance(offsets, str) else "ranges"): offsets,
        "first_timestamp": partition.first_timestamp,
        "last_timestamp": partition.last_timestamp,
    }


def _read_partition(number: str, value: Mapping[str, Any]) -> PartitionEntry:
    name = f"partitions.{number}"
    ranges = offset_ranges.from_json(value["packed"] if "packed" in value else value["ranges"], name)
    return PartitionEntry(ranges, int(value["first_timestamp"]), int(value["last_timestamp"]))
