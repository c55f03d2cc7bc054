"""
Everything that this package remembers for as long as its process lives, and one way to forget it.

=================================  ==========================================================================
``core/client/token_cache``        tokens by identity, so that a process logs in once
``core/client/api``                the query path that each connection turned out to have (``api_style`` ``auto``)
``hooks/connection``               connections whose unknown extra fields were warned about
``hooks/client_pool``              clients that the triggers of an event loop share
``triggers/shared_reading``        readings that the watchers of a topic share
``triggers/lazy_import``           modules that triggers have loaded
=================================  ==========================================================================

A module keeps such state in a private container that it wraps in ``process_wide``; a test checks that none is left out.
"""

from __future__ import annotations

from typing import Protocol, TypeVar


class Clearable(Protocol):
    """Any container that can be emptied in place."""

    def clear(self) -> None:
        """Empty it."""


C = TypeVar("C", bound=Clearable)
_containers: list[Clearable] = []


def process_wide(container: C) -> C:
    """Return the container, and empty it whenever ``reset`` is called."""
    _containers.append(container)
    return container


def reset() -> None:
    """
    Forget everything, as if the process had just started. For tests; open clients are not closed.

    Call it between two tests that reuse an endpoint with another password, project or ``api_style``.
    """
    for container in _containers:
        container.clear()
