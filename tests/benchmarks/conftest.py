"""One service of the benchmarks for all tests of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.measuring import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as running:
        yield running
