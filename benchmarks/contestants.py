"""
Everybody who reads the window or sends it again: this provider, and what people would use instead.

A contestant gets ready first (imports, arguments) and gives the work to be timed; the work gives what it read or sent.
The bare pools are the yardstick: ``aiohttp`` with so many workers that do nothing but the same requests. They need not
log in, and know beforehand how many pages there are.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.job import Haul, Job
from benchmarks.shape import END_MS, INSTANCE, PAGE_SIZE, PROJECT, START_MS, TOPIC, MessageRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import aiohttp
    import requests

_MQS = f"/v2/{PROJECT}/mqs/instances/{INSTANCE}/messages"
_RESEND = f"{_MQS}/action?action_id=resend"
_HEADERS = {"X-Auth-Token": "t" * 2000, "Content-Type": "application/json"}


Work: TypeAlias = "Callable[[], Haul]"


def query_operator(job: Job) -> Work:
    """Run ``QueryMessagesOperator`` as a DAG's unit test would."""
    connect(job.url)
    import airflow_provider_mqs.core.client.transport_aiohttp
    from airflow_provider_mqs.operators.mqs import QueryMessagesOperator

    del airflow_provider_mqs
    operator = QueryMessagesOperator(
        task_id="query", topic=TOPIC, start=START_MS, end=job.end_ms, concurrency=job.concurrency
    )

    def work() -> Haul:
        return Haul(xcom=operator.execute({}))

    return work


def query_hook(job: Job) -> Work:
    """Call ``MqsHook.query``."""
    connect(job.url)
    import airflow_provider_mqs.core.client.transport_aiohttp
    from airflow_provider_mqs.hooks.mqs import MqsHook

    del airflow_provider_mqs
    return lambda: Haul(xcom=MqsHook().query(TOPIC, START_MS, job.end_ms).to_xcom())


def query_http_operator(job: Job) -> Work:
    """Run ``HttpOperator`` with a pagination function, and a filter that keeps the places."""
    connect(job.url)
    from airflow.providers.http.operators.http import HttpOperator

    pages = job.pages
    query = HttpOperator(
        task_id="query",
        method="GET",
        endpoint=_MQS,
        data=_parameters(job, next(pages)),
        headers=_HEADERS,
        pagination_function=lambda _: next(({"data": _parameters(job, page)} for page in pages), None),
        response_filter=lambda answers: [place for answer in answers for place in _places(answer.json())],
    )

    def work() -> Haul:
        places = query.execute({})
        return Haul(places, places)

    return work


def query_sdk(job: Job) -> Work:
    """Loop over the pages with the vendor's SDK."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkroma.v2 import RomaClient, ShowMqsInstanceMessagesRequest

    credentials = BasicCredentials("bench", "bench", PROJECT)
    client = RomaClient.new_builder().with_credentials(credentials).with_endpoint(job.url).build()

    def page(offset: int) -> list[MessageRef]:
        request = ShowMqsInstanceMessagesRequest(instance_id=INSTANCE, **_parameters(job, offset))
        rows = client.show_mqs_instance_messages(request).messages
        return [(row.partition, row.message_offset) for row in rows]

    return lambda: Haul([place for offset in job.pages for place in page(offset)])


def query_requests(job: Job) -> Work:
    """Loop over the pages with one ``requests`` session."""
    session = _session()

    def page(offset: int) -> list[MessageRef]:
        return _places(session.get(job.url + _MQS, params=_parameters(job, offset)).json())

    return lambda: Haul([place for offset in job.pages for place in page(offset)])


def query_pool(job: Job) -> Work:
    """Read and decode the pages with a bare ``aiohttp`` pool."""
    from yarl import URL

    places: list[MessageRef] = []

    async def page(session: aiohttp.ClientSession, offset: int) -> None:
        text = "&".join(f"{name}={value}" for name, value in _parameters(job, offset).items())
        async with session.get(URL(f"{job.url}{_MQS}?{text}", encoded=True)) as answer:
            places.extend(_places(json.loads(await answer.read())))

    return _pool(job, page, job.pages, Haul(places))


def resend_operator(job: Job) -> Work:
    """Run ``ResendMessagesOperator`` on the offsets of the window."""
    connect(job.url)
    import airflow_provider_mqs.core.client.transport_aiohttp
    from airflow_provider_mqs.operators.mqs import ResendMessagesOperator

    del airflow_provider_mqs
    operator = ResendMessagesOperator(
        task_id="resend",
        messages=_offsets(job),
        ordering=job.ordering,
        concurrency=job.concurrency,
        verify=job.verify,
        durable=job.durable,
        ledger_path=job.folder,
    )
    return lambda: Haul(xcom=operator.execute({}))


def resend_requests(job: Job) -> Work:
    """Post one after the other with one ``requests`` session."""
    session = _session()

    def work() -> Haul:
        for place in job.shape.places():
            session.post(job.url + _RESEND, data=_body(place)).raise_for_status()
        return Haul()

    return work


def resend_pool(job: Job) -> Work:
    """Post with a bare ``aiohttp`` pool."""
    from yarl import URL

    url = URL(job.url + _RESEND, encoded=True)

    async def post(session: aiohttp.ClientSession, place: MessageRef) -> None:
        async with session.post(url, data=_body(place)) as answer:
            json.loads(await answer.read())
            answer.raise_for_status()

    return _pool(job, post, job.shape.places(), Haul())


CONTESTANTS: dict[str, Callable[[Job], Work]] = {
    "QueryMessagesOperator": query_operator,
    "MqsHook.query": query_hook,
    "HttpOperator": query_http_operator,
    "SDK loop": query_sdk,
    "requests loop": query_requests,
    "bare pool": query_pool,
    "ResendMessagesOperator": resend_operator,
    "requests posts": resend_requests,
    "bare posts": resend_pool,
}


def read_by(haul: Haul) -> list[MessageRef]:
    """List what was read, by offsets where the haul is a document of this provider."""
    if haul.places or not haul.xcom or "partitions" not in haul.xcom:
        return haul.places
    from airflow_provider_mqs.core.offsets import partition_offsets
    from airflow_provider_mqs.core.offsets.document import Offsets

    found = Offsets.from_xcom(haul.xcom).partitions
    return list(partition_offsets.expand({number: partition.ranges for number, partition in found.items()}))


def mqs_connection(url: str) -> str:
    """Write the connection to the service as JSON."""
    extra = {"domain_name": "bench", "project_id": PROJECT, "instance_id": INSTANCE, "api_style": "mqs"}
    return json.dumps({"conn_type": "mqs", "host": url, "login": "bench", "password": "bench", "extra": extra})


def connect(url: str) -> None:
    """Give Airflow the connections, before it is imported."""
    os.environ["AIRFLOW_CONN_MQS_DEFAULT"] = mqs_connection(url)
    os.environ["AIRFLOW_CONN_HTTP_DEFAULT"] = json.dumps({"conn_type": "http", "host": url})


def _parameters(job: Job, offset: int) -> dict[str, str]:
    return {
        "topic": TOPIC,
        "asc": "true",
        "start_time": str(START_MS),
        "end_time": str(job.end_ms),
        "limit": str(PAGE_SIZE),
        "offset": str(offset),
    }


def _places(page: Any) -> list[MessageRef]:
    return [(row["partition"], row["message_offset"]) for row in page["messages"]]


def _body(place: MessageRef) -> bytes:
    return json.dumps({"topic": TOPIC, "partition": place[0], "message_offset": place[1]}).encode()


def _offsets(job: Job) -> dict[str, Any]:
    """Write what the query would have pushed."""
    from airflow_provider_mqs.core.offsets.document import Offsets, PartitionOffsets
    from airflow_provider_mqs.core.values.time_window import TimeWindow

    shape = job.shape
    counts = {p: shape.count(p) for p in range(min(shape.partitions, shape.messages))}
    parts = {p: PartitionOffsets(((0, count - 1),), START_MS, END_MS) for p, count in counts.items()}
    window = TimeWindow(START_MS, END_MS, "start and end")
    host = job.url.removeprefix("http://")
    return Offsets(endpoint=host, instance_id=INSTANCE, topic=TOPIC, window=window, partitions=parts).to_xcom()


def _session() -> requests.Session:
    import requests

    session = requests.Session()
    session.headers.update(_HEADERS)
    session.trust_env = False
    return session


def _pool(
    job: Job, one: Callable[[aiohttp.ClientSession, Any], Awaitable[None]], items: Iterator[Any], haul: Haul
) -> Work:
    """Work through the items with as many workers as requests may be in flight; they fill the haul."""
    import aiohttp

    async def work(session: aiohttp.ClientSession) -> None:
        for item in items:
            await one(session, item)

    async def pool() -> Haul:
        connector = aiohttp.TCPConnector(limit=job.concurrency)
        async with aiohttp.ClientSession(connector=connector, headers=_HEADERS) as session:
            await asyncio.gather(*(work(session) for _ in range(job.concurrency)))
        return haul

    return lambda: asyncio.run(pool())
