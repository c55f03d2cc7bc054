"""
The tokens of this process: one per identity, fetched by one login however many flows need it.

The first flow that needs a token claims the login. All others wait for it, in whatever thread or event loop they run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.exceptions import ApiError, AuthenticationError, MqsError, PermissionDeniedError
from airflow_provider_mqs.process_state import process_wide

# IAM's default lock time: asking earlier with the same password only keeps the user locked
_REJECTION_LASTS_S = 900.0


@dataclass(frozen=True, slots=True)
class Token:
    """An IAM token; ``project_id`` is ``""`` if IAM did not say, ``renew_at`` is on the monotonic clock."""

    value: str = field(repr=False)
    project_id: str
    renew_at: float
    iam_clock: ServiceClock = field(default_factory=ServiceClock, repr=False, compare=False)


class TokenSlot:
    """The token of one identity in this process, and who is fetching it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._pending: Future[None] | None = None
        self._rejection: tuple[float, ApiError] | None = None

    def claim(self, stale: Token | None) -> Token | Future[None] | None:
        """
        Return a good token other than ``stale``, or a future to wait for while another flow logs in.

        ``None`` makes the caller log in and then ``complete`` it. Raises the rejection of these credentials for as long
        as it lasts.
        """
        with self._lock:
            now = self.monotonic()
            if self._rejection and now < self._rejection[0]:
                raise self._rejection[1]
            if self._token is not None and self._token is not stale and now < self._token.renew_at:
                return self._token
            if self._pending is None:
                self._pending = Future()
                return None
            return self._pending

    def complete(self, token: Token | None, error: BaseException | None = None) -> None:
        """
        End the login that ``claim`` asked for, with a token or with an error.

        The error is raised for waiting flows too; if only this flow was stopped, one of them logs in instead.
        """
        with self._lock:
            pending, self._pending = self._pending, None
            self._token = token
            self._rejection = None
            if isinstance(error, AuthenticationError | PermissionDeniedError):
                self._rejection = (self.monotonic() + _REJECTION_LASTS_S, error)
        if pending is None:
            raise AssertionError("unreachable: complete without claim")
        if isinstance(error, MqsError):
            pending.set_exception(error)
        else:
            pending.set_result(None)


_slots: dict[str, TokenSlot] = process_wide({})


def slot_for(identity: str) -> TokenSlot:
    """Return this process's slot of an identity (``ConnectionSettings.identity``)."""
    return _slots.setdefault(identity, TokenSlot())
