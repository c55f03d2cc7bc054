"""
The tokens of this process: one per identity, fetched by one login however many flows need it.

The first flow that needs a token logs in; all others wait for it, in whatever thread or event loop they run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from airflow_provider_mqs.exceptions import ApiError, AuthenticationError, MqsError, PermissionDeniedError
from airflow_provider_mqs.process_state import process_wide

_REJECTION_LASTS_S = 900.0
"""IAM's default lock time: asking again earlier with the same password only keeps the user locked."""


@dataclass(frozen=True, slots=True)
class Token:
    """
    An IAM token.

    :param value: not shown by ``repr``
    :param project_id: the project that it is for, ``""`` if IAM did not say
    :param renew_at: when to fetch the next one, on the clock of ``time.monotonic``
    """

    value: str = field(repr=False)
    project_id: str
    renew_at: float


class TokenSlot:
    """
    The one token of one identity in this process, and who is fetching it.

    :param clock: monotonic seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._pending: Future[None] | None = None
        self._rejection: tuple[float, ApiError] | None = None

    def claim(self, stale: Token | None) -> Token | Future[None] | None:
        """
        Ask for a token.

        :param stale: a token that the service no longer takes
        :return: a good token; or what to wait for, while somebody else logs in; or ``None``: log in, then ``settle``
        :raises ApiError: these credentials were refused a short time ago
        """
        with self._lock:
            now = self._clock()
            if self._rejection and now < self._rejection[0]:
                raise self._rejection[1]
            if self._token is not None and self._token is not stale and now < self._token.renew_at:
                return self._token
            if self._pending is None:
                self._pending = Future()
                return None
            return self._pending

    def settle(self, token: Token | None, error: BaseException | None = None) -> None:
        """
        End a login that ``claim`` asked for.

        :param token: the new one, or ``None`` when there is none
        :param error: why; those who wait get it too, unless only our own run was stopped
        """
        with self._lock:
            pending, self._pending = self._pending, None
            self._token = token
            self._rejection = None
            if isinstance(error, AuthenticationError | PermissionDeniedError):
                self._rejection = (self._clock() + _REJECTION_LASTS_S, error)
        if pending is None:
            raise AssertionError("unreachable: settle without claim")
        if isinstance(error, MqsError):
            pending.set_exception(error)
        else:
            pending.set_result(None)


_slots: dict[str, TokenSlot] = process_wide({})


def slot_for(identity: str) -> TokenSlot:
    """
    Give the slot of an identity, one per process.

    :param identity: a digest over everything that decides which token one gets
    :return: the same slot for the same identity
    """
    return _slots.setdefault(identity, TokenSlot())
