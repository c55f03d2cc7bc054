"""
The contestants, which read the window or resend it: this provider, and what people would use instead.

A contestant prepares first (imports, arguments) and returns the work to be timed, which returns what it read. The bare
pools are the baseline: ``aiohttp`` with workers that make the same requests and do nothing else. They do not log in,
and they know in advance how many pages there are.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.job import Job, Output
from benchmarks.scenario import END_MS, INSTANCE, PAGE_SIZE, PROJECT, START_MS, TOPIC, MessageRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import aiohttp
    import requests

_MQS = f"/v2/{PROJECT}/mqs/instances/{INSTANCE}/messages"
_RESEND = f"{_MQS}/action?action_id=resend"
_HEADERS = {"X-Auth-Token": "t" * 2000, "Content-Type": "application/json"}


Work: TypeAlias = "Callable[[], Output]"


def query_operator(job: Job) -> Work:
    """Run ``QueryMessagesOperator`` as a DAG's unit test would."""
    connect(job.url)
    import airflow_provider_mqs.core.client.transport_aiohttp
    from airflow_provider_mqs.operators.mqs import QueryMessagesOperator

    del airflow_provider_mqs
    operator = QueryMessagesOperator(
        task_id="query", topic=TOPIC, start=START_MS, end=job.end_ms, concurrency=job.concurrency
    )

    def work() -> Output:
        return Output(xcom=operator.execute({}))

    return work


def query_hook(job: Job) -> Work:
    """Call ``MqsHook.query``."""
    connect(job.url)
    import airflow_provider_mqs.core.client.transport_aiohttp
    from airflow_provider_mqs.hooks.mqs import MqsHook

    del airflow_provider_mqs
    return lambda: Output(xcom=MqsHook().query(TOPIC, START_MS, job.end_ms).to_xcom())


def query_http_operator(job: Job) -> Work:
    """Run ``HttpOperator`` with a pagination function, and a filter that keeps partition and offset."""
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
        response_filter=lambda answers: [ref for answer in answers for ref in _refs(answer.json())],
    )

    def work() -> Output:
        refs = query.execute({})
        return Output(refs, refs)

    return work


def query_sdk(job: Job) -> Work:
    """Read one page after the other with the vendor's SDK."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkroma.v2 import RomaClient, ShowMqsInstanceMessagesRequest

    credentials = BasicCredentials("bench", "bench", PROJECT)
    client = RomaClient.new_builder().with_credentials(credentials).with_endpoint(job.url).build()

    def page(offset: int) -> list[MessageRef]:
        request = ShowMqsInstanceMessagesRequest(instance_id=INSTANCE, **_parameters(job, offset))
        rows = client.show_mqs_instance_messages(request).messages
        return [(row.partition, row.message_offset) for row in rows]

    return lambda: Output([ref for offset in job.pages for ref in page(offset)])


def query_requests(job: Job) -> Work:
    """Read one page after the other with a ``requests`` session."""
    session = _session()

    def page(offset: int) -> list[MessageRef]:
        return _refs(session.get(job.url + _MQS, params=_parameters(job, offset)).json())

    return lambda: Output([ref for offset in job.pages for ref in page(offset)])


def query_pool(job: Job) -> Work:
    """Read and decode the pages with a bare ``aiohttp`` pool."""
    from yarl import URL

    refs: list[MessageRef] = []

    async def page(session: aiohttp.ClientSession, offset: int) -> None:
        text = "&".join(f"{name}={value}" for name, value in _parameters(job, offset).items())
        async with session.get(URL(f"{job.url}{_MQS}?{text}", encoded=True)) as answer:
            refs.extend(_refs(json.loads(await answer.read())))

    return _pool(job, page, job.pages, Output(refs))


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
    return lambda: Output(xcom=operator.execute({}))


def resend_requests(job: Job) -> Work:
    """Post one message after the other with a ``requests`` session."""
    session = _session()

    def work() -> Output:
        for ref in job.scenario.refs():
            session.post(job.url + _RESEND, data=_body(ref)).raise_for_status()
        return Output()

    return work


def resend_pool(job: Job) -> Work:
    """Post the messages with a bare ``aiohttp`` pool."""
    from yarl import URL

    url = URL(job.url + _RESEND, encoded=True)

    async def post(session: aiohttp.ClientSession, ref: MessageRef) -> None:
        async with session.post(url, data=_body(ref)) as answer:
            json.loads(await answer.read())
            answer.raise_for_status()

    return _pool(job, post, job.scenario.refs(), Output())


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


def read_by(output: Output) -> list[MessageRef]:
    """Return the messages that were read, from the offsets document if the output is one of this provider."""
    if output.refs or not output.xcom or "partitions" not in output.xcom:
        return output.refs
    from airflow_provider_mqs.core.offsets import partition_offsets
    from airflow_provider_mqs.core.offsets.document import Offsets

    found = Offsets.from_xcom(output.xcom).partitions
    return list(partition_offsets.expand({number: partition.ranges for number, partition in found.items()}))


def mqs_connection(url: str) -> str:
    """Return the Airflow connection to the service as JSON."""
    extra = {"domain_name": "bench", "project_id": PROJECT, "instance_id": INSTANCE, "api_style": "mqs"}
    return json.dumps({"conn_type": "mqs", "host": url, "login": "bench", "password": "bench", "extra": extra})


def connect(url: str) -> None:
    """Set the connections in the environment, before Airflow is imported."""
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


def _refs(page: Any) -> list[MessageRef]:
    return [(row["partition"], row["message_offset"]) for row in page["messages"]]


def _body(ref: MessageRef) -> bytes:
    return json.dumps({"topic": TOPIC, "partition": ref[0], "message_offset": ref[1]}).encode()


def _offsets(job: Job) -> dict[str, Any]:
    """Return what the query would have pushed."""
    from airflow_provider_mqs.core.offsets.document import Offsets, PartitionOffsets
    from airflow_provider_mqs.core.values.time_window import TimeWindow

    scenario = job.scenario
    counts = {p: scenario.count(p) for p in range(min(scenario.partitions, scenario.messages))}
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
    job: Job, one: Callable[[aiohttp.ClientSession, Any], Awaitable[None]], items: Iterator[Any], output: Output
) -> Work:
    """Return the work of a pool: as many workers as requests in flight process the items and fill the output."""
    import aiohttp

    async def work(session: aiohttp.ClientSession) -> None:
        for item in items:
            await one(session, item)

    async def pool() -> Output:
        connector = aiohttp.TCPConnector(limit=job.concurrency)
        async with aiohttp.ClientSession(connector=connector, headers=_HEADERS) as session:
            await asyncio.gather(*(work(session) for _ in range(job.concurrency)))
        return output

    return lambda: asyncio.run(pool())
