"""One flow per call: what is requested, on which path, and what the responses mean."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_mqs.core.client import api as api_module
from airflow_provider_mqs.core.client.api import MqsApi
from airflow_provider_mqs.core.client.auth import TokenAuth
from airflow_provider_mqs.core.client.flow import Flow, Request, Response, Step, drive
from airflow_provider_mqs.core.client.retry import RetryPolicy
from airflow_provider_mqs.core.resend.sender import failure_of
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.identity import INSTANCE_ID, PROJECT_ID
from airflow_provider_mqs.emulator.store import Topic as StoredTopic
from airflow_provider_mqs.exceptions import (
    ApiError,
    ApiNotPublishedError,
    ConfigurationError,
    MqsError,
    NotFoundError,
    ProtocolError,
    ServerError,
    TransportError,
    WindowTooLargeError,
)
from tests.support import START_MS, Local, local, settings_for

BASE = f"http://127.0.0.1:1/v2/{PROJECT_ID}"
DMS = f"{BASE}/instances/{INSTANCE_ID}/messages"
MQS = f"{BASE}/mqs/instances/{INSTANCE_ID}/messages"


def bare(**changes: Any) -> MqsApi:
    return MqsApi(settings_for(**changes), TokenAuth("t"), policy=RetryPolicy(max_retries=0))


def stored(behaviour: Behaviour | None = None, value: str = "hello", **changes: Any) -> Local:
    """A service with one message at partition 1, offset 0, and another at offset 1."""
    client = local(behaviour, **changes)
    client.state.store.put_topic(StoredTopic("orders", 3, 10_000))
    client.state.append("orders", 1, value, timestamp_ms=START_MS, key="k")
    client.state.append("orders", 1, "other", timestamp_ms=START_MS + 1)
    return client


def answered(flow: Flow[Any], *answers: Any) -> tuple[Any, list[Request]]:
    """Run a flow on canned answers: (status, body) each."""
    requests: list[Request] = []

    def perform(step: Step) -> Response:
        assert isinstance(step, Request)
        requests.append(step)
        status, body = answers[len(requests) - 1]
        return Response(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())

    return drive(flow, perform), requests


def paths(client: Local) -> list[str]:
    return [request.url.partition("?")[0] for request in client.requests]


def window(client: Local) -> Any:
    return client.run(client.api.query_page("orders", START_MS, START_MS + 10, limit=50, offset=0))


@pytest.mark.parametrize(("style", "url"), [("dms", DMS), ("mqs", MQS)])
def test_query_goes_to_the_path_of_its_style(style: Any, url: str) -> None:
    """Each of the two documented paths works if the deployment has it."""
    client = stored(Behaviour(styles=frozenset({style})), api_style=style)

    page = window(client)

    assert [message.message_offset for message in page.messages] == [0, 1]
    assert paths(client) == [url]


def test_window_query_asks_for_what_the_document_says() -> None:
    """Times in ms, ascending, with limit and offset; the partition only if one is named."""
    client = stored()

    client.run(client.api.query_page("orders", 5, 9, limit=50, offset=3))
    client.run(client.api.query_page("orders", 5, 9, limit=10, offset=0, partition=0))

    assert [parse_qs(urlsplit(request.url).query) for request in client.requests] == [
        {
            "topic": ["orders"],
            "asc": ["true"],
            "start_time": ["5"],
            "end_time": ["9"],
            "limit": ["50"],
            "offset": ["3"],
        },
        {
            "topic": ["orders"],
            "asc": ["true"],
            "start_time": ["5"],
            "end_time": ["9"],
            "limit": ["10"],
            "offset": ["0"],
            "partition": ["0"],
        },
    ]


def test_every_request_has_its_headers() -> None:
    """Every call requests JSON, and all but the resend may be repeated."""
    client = stored()

    client.run(client.api.show_instance())
    client.run(client.api.list_topics())
    window(client)
    client.run(client.api.get_message("orders", 1, 0))
    client.run(client.api.resend("orders", 1, 0))

    assert [request.safe_to_repeat for request in client.requests] == [True, True, True, True, False]
    assert {request.headers["Accept"] for request in client.requests} == {"application/json"}
    assert {request.headers["Content-Type"] for request in client.requests} == {"application/json;charset=UTF-8"}


@pytest.mark.parametrize(("there", "asked"), [("mqs", [DMS, MQS, MQS, MQS]), ("dms", [DMS, DMS, DMS])])
def test_auto_finds_the_path_once(there: str, asked: list[str]) -> None:
    """The first query finds the path for all later ones of this connection, also those of another client."""
    client = stored(Behaviour(styles=frozenset({there})), api_style="auto")

    for _ in range(2):
        window(client)
    client.run(client.api.get_message("orders", 1, 0))

    assert paths(client) == asked


def test_path_is_logged_once_however_many_look_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """Many requests are in flight when the first query finds it."""
    flows = [bare(api_style="auto").query_page("orders", 1, 2, limit=50, offset=0) for _ in range(16)]
    for flow in flows:
        next(flow)

    with caplog.at_level("INFO"):
        for flow in flows:
            with pytest.raises(StopIteration):
                flow.send(Response(200, {}, b'{"messages": [], "total": 0}'))

    assert caplog.messages == ["The query path of this connection is api_style 'dms'."]


def test_auto_finds_the_path_for_each_connection() -> None:
    """Another user of the same host may have another path."""
    client = stored(api_style="auto")
    window(client)
    client.requests.clear()
    client.settings = replace(client.settings, login="other")

    window(client)

    assert paths(client) == [DMS, MQS]


@pytest.mark.parametrize("style", ["dms", "mqs"])
def test_api_style_of_the_connection_comes_first(style: Any) -> None:
    """A corrected connection takes effect at once, also in a process that found another path."""
    client = stored(Behaviour(styles=frozenset({"dms", "mqs"})), api_style="auto")
    settings = client.settings
    api_module._known_styles[settings.query_endpoint, settings.identity] = "dms" if style == "mqs" else "mqs"
    client.settings = replace(settings, api_style=style)

    window(client)

    assert paths(client) == [DMS if style == "dms" else MQS]


def test_roma_hosts_have_their_own_path() -> None:
    """On a host named roma.* the other path belongs to another API, so it is not even tried."""
    api = bare(api_style="auto", query_endpoint="https://roma.cn-north-4.myhuaweicloud.com")

    request = next(api.query_page("orders", 1, 2, limit=50, offset=0))

    assert isinstance(request, Request)
    assert request.url.startswith("https://roma.cn-north-4.myhuaweicloud.com/v2/")
    assert "/mqs/instances/" in request.url


@pytest.mark.parametrize(
    ("status", "code", "falls_back"),
    [
        (404, "APIGW.0101", True),
        (404, "APIG.0101", True),
        (404, "DMS.00404001", True),
        (404, "MQS.10240406", True),
        (404, "DMS.00404022", False),
        (404, "", False),
        (404, 404, False),
        (400, "MQS.00400062", False),
        (403, "APIGW.0302", False),
    ],
)
def test_auto_tries_the_other_path_only_if_this_one_does_not_exist(status: int, code: Any, falls_back: bool) -> None:
    """After a missing instance or a plain 404 the other path is not tried, and nothing is remembered."""
    flow = bare(api_style="auto").query_page("orders", 1, 2, limit=50, offset=0)
    next(flow)
    refusal = Response(status, {}, json.dumps({"error_code": code, "error_msg": "No."}).encode())

    if falls_back:
        request = flow.send(refusal)
        assert isinstance(request, Request)
        assert request.url.startswith(MQS)
    else:
        with pytest.raises(MqsError):
            flow.send(refusal)
    assert api_module._known_styles == {}


def test_auto_without_any_path_is_an_error() -> None:
    """If neither path exists, the last error is raised, and the next query tries both again."""
    client = stored(Behaviour(styles=frozenset()), api_style="auto")

    for _ in range(2):
        with pytest.raises(ApiNotPublishedError):
            window(client)

    assert paths(client) == [DMS, MQS, DMS, MQS]


def test_query_may_have_an_endpoint_of_its_own() -> None:
    """Queries go to one host and everything else to the other."""
    api = bare(query_endpoint="https://dms.example.com", api_style="dms")

    query, resend = next(api.query_page("t", 1, 2, limit=1, offset=0)), next(api.resend("t", 0, 0))

    assert isinstance(query, Request)
    assert isinstance(resend, Request)
    assert query.url.startswith(f"https://dms.example.com/v2/{PROJECT_ID}/instances/")
    assert resend.url.startswith("http://127.0.0.1:1/v2/")


@pytest.mark.parametrize(
    ("consumer_key", "tail"), [(None, ""), ("keyA", ', "consumer_key": "keyA"'), ("", ', "consumer_key": ""')]
)
def test_resend_is_the_documented_request(consumer_key: str | None, tail: str) -> None:
    """Exact URL and body: integers as integers, and no consumer_key unless one is set."""
    api = bare(api_style="dms")

    request = next(api.resend("orders", 3, 2**53 + 1, consumer_key))

    assert isinstance(request, Request)
    assert request.method == "POST"
    assert request.url == f"{MQS}/action?action_id=resend"
    assert request.body.decode() == f'{{"topic": "orders", "partition": 3, "message_offset": 9007199254740993{tail}}}'
    assert request.safe_to_repeat is False


@pytest.mark.parametrize(
    "body",
    [
        {"topic": "orders", "partition": 1, "message_offset": 0},
        {"topic": "orders", "partition": 1, "message_offset": 0.0, "consumer_key": "k"},
        {"topic": "orders", "partition": "1", "message_offset": "0"},
        {"topic": "orders", "partition": "1.0", "message_offset": "0.0"},
        {"topic": "orders", "error_code": "", "error_msg": None},
        {"topic": "orders", "error_code": 0},
        {"topic": None},
        {},
        [],
    ],
)
def test_resend_accepts_an_echo_of_its_request(body: Any) -> None:
    """Older deployments echo fewer fields, which is no contradiction."""
    result, requests = answered(bare().resend("orders", 1, 0), (200, body))

    assert result is None
    assert len(requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"topic": "payments", "partition": 1, "message_offset": 0},
        {"topic": "orders", "partition": 0, "message_offset": 0},
        {"topic": "orders", "partition": 1, "message_offset": 1},
        {"topic": "orders", "partition": "1", "message_offset": "1"},
        {"topic": "orders", "partition": 1, "message_offset": 0.5},
        {"topic": "orders", "partition": True, "message_offset": 0},
        {"topic": "orders", "partition": "one", "message_offset": 0},
        {"topic": "orders", "partition": [1], "message_offset": 0},
        {"topic": 5, "partition": 1, "message_offset": 0},
        b"<html>OK</html>",
        b"",
    ],
)
def test_resend_refuses_an_echo_of_another_message(body: Any) -> None:
    """Neither an echo of another message nor HTML counts as success."""
    with pytest.raises(ProtocolError):
        answered(bare().resend("orders", 1, 0), (200, body))


@pytest.mark.parametrize("echoed", [2**53 + 1, str(2**53 + 1), float(2**53)])
def test_echo_of_a_large_offset_is_recognised(echoed: Any) -> None:
    """A float is as exact as it can be."""
    answered(bare().resend("orders", 1, 2**53 + 1), (200, {"message_offset": echoed}))


@pytest.mark.parametrize("echoed", [2**53, str(2**53)])
def test_whole_number_in_an_echo_is_exact(echoed: Any) -> None:
    """As a float, the two would be the same."""
    with pytest.raises(ProtocolError, match="message_offset"):
        answered(bare().resend("orders", 1, 2**53 + 1), (200, {"message_offset": echoed}))


@pytest.mark.parametrize(
    ("code", "unknown"),
    [("MQS.00400062", True), (400, True), ("DMS.111501025", True), ("APIGW.0301", False), (10240104, False)],
)
def test_resend_that_was_refused_with_status_200_does_not_count_as_sent(code: Any, unknown: bool) -> None:
    """The code decides whether it surely was not executed; a code that nobody knows leaves it in doubt."""
    with pytest.raises(ApiError) as caught:
        answered(bare().resend("orders", 1, 0), (200, {"topic": "orders", "error_code": code}))

    assert caught.value.status == 200
    assert failure_of(1, 0, caught.value).unknown is unknown


def test_query_that_was_refused_with_status_200_is_no_empty_page() -> None:
    """A page with an error code is not whole."""
    body = {"messages": [], "total": 0, "error_code": "DMS.10240043"}

    with pytest.raises(WindowTooLargeError):
        answered(bare().query_page("orders", 1, 2, limit=1, offset=0), (200, body))


def test_resend_is_not_repeated_when_its_answer_is_lost() -> None:
    """The copy may exist; the caller decides."""
    api = MqsApi(settings_for(), TokenAuth("t"))
    flow = api.resend("orders", 1, 0)
    next(flow)

    with pytest.raises(TransportError):
        flow.throw(TransportError("No answer.", phase="exchange"))


def test_message_has_its_content() -> None:
    """One message is queried by its offset, and comes with key and value."""
    client = stored()

    message = client.run(client.api.get_message("orders", 1, 0))

    assert message is not None
    assert (message.key, message.value, message.timestamp) == ("k", "hello", START_MS)
    assert parse_qs(urlsplit(client.requests[0].url).query) == {
        "topic": ["orders"],
        "partition": ["1"],
        "message_offset": ["0"],
        "download": ["false"],
    }


@pytest.mark.parametrize("form", ["json", "file"])
@pytest.mark.parametrize(
    "value",
    [
        "x" * 9000,
        '{"error_code": "E1"}',
        '{"error_code": 5, "messages": []}',
        '{"order": 1, "total": 9.99}',
        '{"messages": []}',
        "[1]",
        "",
        "ü",
    ],
)
def test_download_returns_the_whole_content(form: Any, value: str) -> None:
    """The document does not say whether it comes as JSON or as a bare file, which may look like a response."""
    client = stored(Behaviour(download_form=form, truncate_bytes=10), value)

    message = client.run(client.api.get_message("orders", 1, 0, download=True))

    assert message is not None
    assert (message.partition, message.message_offset, message.value) == (1, 0, value)


@pytest.mark.parametrize("value", ["hello", None])
def test_refused_download_is_not_taken_for_the_content(value: str | None) -> None:
    """The content itself shows whether it looks like an error."""
    refusal = {"error_code": "DMS.111501025", "error_msg": "Busy"}
    row = {"partition": 1, "message_offset": 0, "timestamp": 1, "value": value}

    with pytest.raises(ServerError, match="Busy"):
        answered(bare().get_message("orders", 1, 0, download=True), (200, refusal), (200, {"messages": [row]}))


@pytest.mark.parametrize("download", [False, True])
def test_absent_message_is_none(download: bool) -> None:
    """An offset that was never written has no message."""
    client = stored()

    assert client.run(client.api.get_message("orders", 1, 99, download=download)) is None


def test_another_message_is_not_the_requested_one() -> None:
    """Messages that a service returns instead of the requested one are ignored."""
    rows = [{"partition": 0, "message_offset": offset, "timestamp": 1} for offset in range(3)]
    flow = bare().get_message("orders", 0, 2)

    message, _ = answered(flow, (200, {"messages": rows, "total": 3}))

    assert message.message_offset == 2
    assert answered(bare().get_message("orders", 1, 2), (200, {"messages": rows, "total": 3}))[0] is None


def test_content_that_is_not_json_breaks_the_protocol() -> None:
    """Unless a download was requested, anything but JSON is an error."""
    with pytest.raises(ProtocolError):
        answered(bare().get_message("orders", 1, 0), (200, b"hello"))


def test_instance_is_shown_as_it_is() -> None:
    """The response is not interpreted."""
    client = local()

    assert client.run(client.api.show_instance())["engine"] == "kafka"
    assert paths(client) == [f"{BASE}/mqs/instances/{INSTANCE_ID}"]


def test_instance_that_is_not_an_object_breaks_the_protocol() -> None:
    """Something else lives at that address."""
    with pytest.raises(ProtocolError, match="instance"):
        answered(bare().show_instance(), (200, []))


def test_all_topics_are_listed() -> None:
    """However many there are, they come with partitions and retention."""
    client = local()
    for number in range(120):
        client.state.store.put_topic(StoredTopic(f"t-{number:03}", 1 + number % 3, 72))

    topics = client.run(client.api.list_topics())

    assert [topic.name for topic in topics] == [f"t-{number:03}" for number in range(120)]
    assert (topics[1].partitions, topics[1].retention_h) == (2, 72.0)


def _topics(*names: str, total: int) -> tuple[int, Any]:
    return 200, {"topics": [{"name": name} for name in names], "total": total}


def test_topic_list_that_comes_in_pages_is_read_to_its_end() -> None:
    """If a service lists fewer topics than it has, the rest is requested from there on."""
    topics, requests = answered(
        bare().list_topics(), _topics("a", "b", total=5), _topics("c", "d", total=5), _topics("e", total=5)
    )

    assert [topic.name for topic in topics] == ["a", "b", "c", "d", "e"]
    assert [parse_qs(urlsplit(request.url).query).get("offset", ["0"]) for request in requests] == [["0"], ["2"], ["4"]]


def test_topic_list_whose_offset_counts_pages_is_read_to_its_end() -> None:
    """Where a number of topics brings nothing new, a number of pages does."""
    topics, requests = answered(
        bare().list_topics(),
        _topics("a", "b", total=5),
        _topics(total=5),
        _topics("c", "d", total=5),
        _topics("e", total=5),
    )

    assert [topic.name for topic in topics] == ["a", "b", "c", "d", "e"]
    assert [parse_qs(urlsplit(request.url).query).get("offset", ["0"])[0] for request in requests] == [
        "0",
        "2",
        "1",
        "2",
    ]


@pytest.mark.parametrize("more", [_topics("a", "b", total=5), _topics(total=5)])
def test_topic_list_that_brings_nothing_new_has_ended(more: tuple[int, Any]) -> None:
    """A wrong total, or a service that ignores the offset, does not lead to endless requests."""
    (topics, whole), requests = answered(bare().find_topics(), _topics("a", "b", total=5), more, more, more)

    assert [topic.name for topic in topics] == ["a", "b"]
    assert not whole
    assert len(requests) == 4


def test_topic_that_is_not_in_the_list_is_looked_for_on_one_page_more() -> None:
    """The total of a list may be that of a page."""
    (topics, whole), _ = answered(bare().find_topics("c"), _topics("a", "b", total=2), _topics("c", total=1))

    assert [topic.name for topic in topics] == ["a", "b", "c"]
    assert whole


def test_missing_instance_is_one_sentence() -> None:
    """If neither the connection nor the caller names one, nothing is requested."""
    with pytest.raises(ConfigurationError, match=r"^instance_id is missing.*[.]$"):
        next(bare(instance_id=None).show_instance())


def test_caller_may_name_another_instance() -> None:
    """The caller's instance comes before the connection's."""
    api = MqsApi(settings_for(), TokenAuth("t"), instance_id="640bb069-0000-0000-0000-000000000009")

    request = next(api.show_instance())

    assert isinstance(request, Request)
    assert request.url.endswith("/mqs/instances/640bb069-0000-0000-0000-000000000009")


def test_spaces_and_signs_are_encoded_as_they_are_signed() -> None:
    """A space is %20 and a plus %2B, in the URL as in the signature."""
    request = next(bare().query_page("a b+c/ü&d", 1, 2, limit=1, offset=0))

    assert isinstance(request, Request)
    assert "topic=a%20b%2Bc%2F%C3%BC%26d&" in request.url


def test_plain_404_of_a_message_is_not_found() -> None:
    """Without a code that says otherwise, the message does not exist."""
    with pytest.raises(NotFoundError):
        answered(bare().get_message("orders", 1, 0), (404, {"error_code": "MQS.00404033", "error_msg": "No."}))


def test_retries_are_those_of_the_connection() -> None:
    """Without a policy of the caller, ``max_retries`` of the connection counts."""
    assert MqsApi(settings_for(max_retries=2), TokenAuth("t")).policy.max_retries == 2


@pytest.mark.parametrize("offset_s", [-600.0, 0.0, 600.0])
def test_every_answer_tells_the_services_time(offset_s: float) -> None:
    """That of a query, a resend or a refusal; this machine's clock may be wrong by ten minutes."""
    for call in ("query_page", "resend", "get_message"):
        client = stored()
        client.state.faults.clock_offset_s = offset_s
        api = client.api
        flow: Any = {
            "query_page": lambda api=api: api.query_page("orders", 1, 2, limit=1, offset=0),
            "resend": lambda api=api: api.resend("orders", 1, 0),
            "get_message": lambda api=api: api.get_message("absent", 1, 0),
        }[call]()

        with suppress(MqsError):
            client.run(flow)

        assert api.service_clock.known
        assert api.earliest_ms() <= client.state.now_ms() <= api.latest_ms()
        assert api.now_ms() == pytest.approx(client.state.now_ms(), abs=1001)
