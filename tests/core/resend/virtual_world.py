"""A service, a store and a replay on virtual time, each of which may hang."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.client.client import AsyncMqsClient
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.client.service_clock import ServiceClock
from airflow_provider_mqs.core.ledger.ledger import Owner
from airflow_provider_mqs.core.ledger.session import session_for
from airflow_provider_mqs.core.offsets.plan import Plan
from airflow_provider_mqs.core.resend.options import ResendOptions
from airflow_provider_mqs.core.resend.replay import Replay
from airflow_provider_mqs.emulator.store import StoredMessage, Topic
from airflow_provider_mqs.exceptions import TransportError
from tests.support import NOW_MS, NOW_S, Local, MemoryStore, local

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.core.client.flow import Request, Response
    from airflow_provider_mqs.core.resend.report import Progress

COUNT, PARTITIONS = 60, 3
PLAN = Plan("orders", dict.fromkeys(range(PARTITIONS), ((0, COUNT // PARTITIONS - 1),)))
RESEND = frozenset({"resend"})
POST, CONTENT, WINDOW, CALL = "post", "content query", "window query", "call of a store"


@dataclass
class World:
    """A service and a store on virtual time; what ``hangs`` is never answered."""

    service: Local
    store: MemoryStore = field(default_factory=MemoryStore)
    hangs: Callable[[World, str], bool] = lambda _, __: False
    posts: int = 0
    parent: int = 7
    began_s: float = NOW_S
    """The service's time when the loop began."""

    async def send(self, request: Request) -> Response:
        """Answer a request after a tenth of a second, as a transport."""
        if not request.safe_to_repeat:
            self.posts += 1
            kind = POST
        else:
            kind = CONTENT if "message_offset" in request.url else WINDOW
        await self._pass(kind, 0.1)
        self.service.now_s[0] = self.began_s + now_s()
        response: Response = self.service.perform(request)
        if not response.status:
            raise TransportError("The connection broke.", phase="exchange")
        return response

    async def close(self) -> None:
        """Close nothing."""

    async def ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call after a hundredth of a second, as the thread for stores."""
        await self._pass(CALL, 0.01)
        return call(*arguments)

    async def _pass(self, kind: str, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        if self.hangs(self, kind):
            await asyncio.Event().wait()

    def ledgers(self) -> list[dict[str, Any]]:
        """Every ledger in the store."""
        return [
            value for key in self.store.values if key.startswith("x-") and "state" in (value := self.store.get(key))
        ]


def now_s() -> float:
    return asyncio.get_running_loop().time()


def virtual_world() -> World:
    service = local()
    service.state.store.put_topic(Topic("orders", PARTITIONS, 72))
    service.state.store.add(
        StoredMessage(
            "orders", number % PARTITIONS, number // PARTITIONS, NOW_MS - 7_200_000 + number, None, str(number), 9, ""
        )
        for number in range(COUNT)
    )
    return World(service)


def replay_of(
    world: World,
    *,
    number: int = 1,
    brake: Callable[[Progress], bool] | None = None,
    thread: Any = None,
    **options: Any,
) -> Replay:
    """Return a replay of all messages; to be called in the loop."""
    settings = world.service.settings
    run = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": number}
    session = session_for(
        PLAN,
        endpoint=settings.host,
        instance_id=str(settings.instance_id),
        consumer_key=None,
        owner=Owner(f"try {number}", run),
        stores=(world.store,),
    )
    how = ResendOptions(**options)
    return Replay(
        client_of(world), PLAN, how, session, world, brake=brake, brake_thread=thread, parent=lambda: world.parent
    )


def client_of(world: World) -> AsyncMqsClient:
    return AsyncMqsClient(
        world.service.settings,
        auth=world.service.auth,
        policy=RetryPolicy(jitter=lambda: 0.0),
        service_clock=ServiceClock(asyncio.get_running_loop().time, lambda: NOW_S),
        transport=world,
    )


def hang(*kinds: str, after: int = 0) -> Callable[[World, str], bool]:
    """Let things hang once so many messages were posted."""
    return lambda world, kind: kind in kinds and world.posts >= after
