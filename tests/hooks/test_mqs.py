"""``MqsHook`` on the local service: each call, as method and as coroutine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_mqs.emulator.faults import Rule
from airflow_provider_mqs.exceptions import ConfigurationError, IncompleteWindowError, NotFoundError
from airflow_provider_mqs.hooks import connection as hook_connection
from airflow_provider_mqs.hooks import connection_check, mqs
from airflow_provider_mqs.hooks.mqs import MqsHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_mqs.testing import MqsEmulator

pytestmark = pytest.mark.usefixtures("connect")


def test_nothing_is_read_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that is created while a DAG file is parsed looks up nothing."""
    monkeypatch.delenv("AIRFLOW_CONN_MQS_DEFAULT")
    assert MqsHook().mqs_conn_id == "mqs_default"


def test_airflow_finds_the_hook() -> None:
    """``BaseHook.get_hook`` finds the class by the connection's type."""
    hook = BaseHook.get_hook("mqs_default")
    assert isinstance(hook, MqsHook)
    assert hook.mqs_conn_id == "mqs_default"


def test_instance_of_the_argument_comes_first(mqs_emulator: MqsEmulator) -> None:
    """An operator may name another instance; a rendered ``None`` is none."""
    assert MqsHook(instance_id="other").get_conn().api.instance_id == "other"
    assert MqsHook(instance_id="None").get_conn().api.instance_id == mqs_emulator.identity.instance_id


def test_token_of_a_login_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token fetched at run time is masked in logs, as the password is."""
    hidden: list[str] = []
    monkeypatch.setattr(mqs, "mask_secret", hidden.append)
    monkeypatch.setattr(hook_connection, "mask_secret", hidden.append)
    MqsHook().show_instance()
    password, token = hidden
    assert password == "demo-password"
    assert len(token) > 50


async def test_token_of_a_login_is_masked_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in a coroutine, where masking must not block the loop."""
    hidden: list[str] = []

    async def hide(secret: str) -> None:
        hidden.append(secret)

    monkeypatch.setattr(mqs, "amask_secret", hide)
    monkeypatch.setattr(hook_connection, "amask_secret", hide)
    async with MqsHook() as hook:
        await hook.ashow_instance()
    assert hidden[0] == "demo-password"
    assert len(hidden[1]) > 50


async def test_a_hook_has_one_asynchronous_client(mqs_emulator: MqsEmulator) -> None:
    """One client serves all calls of a hook, with the concurrency of the first."""
    async with MqsHook() as hook:
        client = await hook.aget_conn(concurrency=3)
        assert client is await hook.aget_conn()
        assert client.concurrency == 3
    await hook.aclose()


def test_secrets_stay_out_of_repr(connect: Callable[..., None]) -> None:
    """Neither hook nor client nor settings show a secret."""
    connect(extra={"proxy": "http://user:proxy-password@127.0.0.1:3128"})
    hook = MqsHook()
    client = hook.get_conn()
    shown = f"{hook!r} {client!r} {client.settings!r} {client.api!r} {vars(hook)}"
    assert "demo-password" not in shown
    assert "proxy-password" not in shown


@pytest.mark.parametrize("auth_type", ["password", "access_key", "token"])
def test_calls_work_with_each_way_of_logging_in(
    auth_type: str, connect: Callable[..., None], hour: tuple[int, int], mqs_emulator: MqsEmulator
) -> None:
    """Instance, topics, message and resend, with a password, an access key or a token."""
    connect(auth_type)
    with MqsHook() as hook:
        assert hook.show_instance()["status"] == "RUNNING"
        assert [topic.name for topic in hook.list_topics()] == ["orders"]
        assert hook.get_message("orders", 1, 3).value
        hook.resend("orders", 1, 3)
    assert mqs_emulator.resend_counts("orders") == {(1, 3): 1}


async def test_twins_do_the_same(hour: tuple[int, int], mqs_emulator: MqsEmulator) -> None:
    """The asynchronous calls return what the others return."""
    async with MqsHook() as hook:
        assert (await hook.ashow_instance())["status"] == "RUNNING"
        assert [topic.name for topic in await hook.alist_topics()] == ["orders"]
        assert (await hook.aget_message("orders", 1, 3)).message_offset == 3
        assert (await hook.aquery("orders", *hour)).count == 120
        assert len([message async for message in hook.aiter_messages("orders", *hour)]) == 120
        await hook.aresend("orders", 2, 5, "billing")
    assert mqs_emulator.resend_counts("orders") == {(2, 5): 1}


def test_query_finds_every_offset(hour: tuple[int, int], mqs_emulator: MqsEmulator) -> None:
    """The offsets are exactly those of the window."""
    offsets = MqsHook().query("orders", *hour)
    found = {
        (number, message_offset)
        for number, part in offsets.partitions.items()
        for first, last in part.ranges
        for message_offset in range(first, last + 1)
    }
    assert offsets.complete
    assert found == mqs_emulator.offsets("orders", *hour)


def test_query_filters_on_our_side(hour: tuple[int, int], mqs_emulator: MqsEmulator) -> None:
    """Filters are named arguments, and compare exactly."""
    key = mqs_emulator.messages("orders")[0].key
    assert MqsHook().query("orders", *hour, key=key, partitions=frozenset({0})).count >= 1
    assert MqsHook().query("orders", *hour, key="no such key").count == 0


@pytest.mark.parametrize("partitions", [["0", "2"], "0,2", [0, 2], "[0, 2]"])
def test_query_reads_partitions_as_the_operator_does(partitions: Any, hour: tuple[int, int]) -> None:
    """Numbers as text are numbers."""
    assert sorted(MqsHook().query("orders", *hour, partitions=partitions).partitions) == [0, 2]


@pytest.mark.parametrize("absent", [{"partitions": ""}, {"partitions": None}, {"key": ""}, {"key": "None"}])
def test_query_without_a_filter_is_the_whole_window(absent: Any, hour: tuple[int, int]) -> None:
    """What a template leaves empty is no filter."""
    assert MqsHook().query("orders", *hour, **absent).count == 120


def test_iter_messages_comes_in_order_of_time(hour: tuple[int, int]) -> None:
    """Messages come by time, partition and offset."""
    refs = [(row.timestamp, row.partition, row.message_offset) for row in MqsHook().iter_messages("orders", *hour)]
    assert len(refs) == 120
    assert refs == sorted(refs)


async def test_messages_of_a_window_that_ends_in_the_future_are_refused_in_a_coroutine_too(
    mqs_emulator: MqsEmulator,
) -> None:
    """The rule of ``aquery`` holds for ``aiter_messages``; nothing is asked."""
    with pytest.raises(ConfigurationError, match="end is in the future"):
        [message async for message in MqsHook().aiter_messages("orders", 5_000_000_000_000, 5_000_000_000_001)]
    assert mqs_emulator.requests() == []


async def test_sync_query_works_inside_a_loop(hour: tuple[int, int]) -> None:
    """In a notebook, where a loop runs already, the synchronous query still answers."""
    assert MqsHook().query("orders", *hour).count == 120


def test_incomplete_window_fails_unless_warn_is_set(hour: tuple[int, int]) -> None:
    """A window older than what the service keeps is an error, or with ``warn`` marked as incomplete."""
    start = hour[1] - 60 * 24 * 3_600_000
    with pytest.raises(IncompleteWindowError, match="keeps"):
        MqsHook().query("orders", start, hour[1])
    assert not MqsHook().query("orders", start, hour[1], on_incomplete="warn").complete


def test_second_run_uses_the_same_sockets_and_token(hour: tuple[int, int], mqs_emulator: MqsEmulator) -> None:
    """Two calls of one hook cost one login, and a closed hook may be used again."""
    hook = MqsHook()
    hook.show_instance()
    assert hook.get_conn() is hook.get_conn()
    hook.close()
    hook.close()
    hook.show_instance()
    assert len(mqs_emulator.requests("login")) == 1


def test_absent_message(hour: tuple[int, int]) -> None:
    """The error names the offset that has no message."""
    with pytest.raises(NotFoundError, match="orders/0/99999"):
        MqsHook().get_message("orders", 0, 99_999)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda hook: hook.resend("or/ders", 0, 1), "topic"),
        (lambda hook: hook.resend("orders", -1, 1), "partition"),
        (lambda hook: hook.resend("orders", 0, "x"), "message_offset"),
        (lambda hook: hook.get_message("", 0, 1), "topic"),
        (lambda hook: hook.query("orders", None, 1_700_000_000_000), "start and end"),
        (lambda hook: hook.query("orders", 5_000_000_000_000, 5_000_000_000_001), "end is in the future"),
        (lambda hook: hook.query("orders", 1_700_000_000_000, 1_700_000_000_000), "window is empty"),
        (lambda hook: hook.query("orders", 1_700_000_000_000, 1_700_000_000_001, on_incomplete="x"), "on_incomplete"),
        (lambda hook: hook.query("orders", 1_700_000_000_000, 1_700_000_000_001, partitions=[]), "partitions"),
        (lambda hook: list(hook.iter_messages("orders", "yesterday", 1)), "start"),
        (lambda hook: list(hook.iter_messages("orders", 5_000_000_000_000, 5_000_000_000_001)), "end is in the future"),
        (lambda hook: type(hook)(instance_id="a/b"), "instance_id"),
    ],
)
def test_bad_argument_is_refused_before_any_request(
    call: Callable[[MqsHook], Any], sentence: str, mqs_emulator: MqsEmulator
) -> None:
    """A wrong argument is one sentence that names it, and nothing is requested."""
    with pytest.raises(ConfigurationError, match=sentence):
        call(MqsHook())
    assert mqs_emulator.requests() == []


async def test_guard_rails_hold_for_method_and_coroutine(
    connect: Callable[..., None], mqs_emulator: MqsEmulator
) -> None:
    """A read-only connection sends nothing."""
    connect(extra={"allow_resend": False})
    with pytest.raises(ConfigurationError, match="allow_resend"):
        MqsHook().resend("orders", 0, 1)
    async with MqsHook() as hook:
        with pytest.raises(ConfigurationError, match="allow_resend"):
            await hook.aresend("orders", 0, 1)
    assert mqs_emulator.requests() == []


@pytest.mark.parametrize("auth_type", ["password", "access_key", "token"])
def test_good_connection_passes_its_test(
    auth_type: str, connect: Callable[..., None], hour: tuple[int, int], mqs_emulator: MqsEmulator
) -> None:
    """The text says what was reached and found, and the test only reads."""
    connect(auth_type)
    well, sentence = MqsHook().test_connection()
    assert well
    assert "RUNNING" in sentence
    assert {request.operation for request in mqs_emulator.requests()} <= {"login", "instance", "topics", "unknown"}


def test_unusable_connection_fails_its_test(connect: Callable[..., None]) -> None:
    """A wrong field is named without any request."""
    connect(extra={"paging": "x"})
    assert MqsHook().test_connection() == (
        False,
        "connection failed: Connection field 'paging' is 'x': use one of auto, page, row.",
    )


def test_failed_test_is_short_and_tries_once(mqs_emulator: MqsEmulator) -> None:
    """A failing service is tried once, whatever the connection's retries."""
    mqs_emulator.faults.error_503 = Rule(operations=frozenset({"instance"}), next=9)
    well, sentence = MqsHook().test_connection()
    assert not well
    assert sentence.startswith("instance failed: HTTP 503")
    assert len(mqs_emulator.requests("instance")) == 1


def test_test_ends_in_time(monkeypatch: pytest.MonkeyPatch, mqs_emulator: MqsEmulator) -> None:
    """A service that does not answer cannot hold up the web server."""
    monkeypatch.setattr(connection_check, "_QUICK_CHECK_S", 0.2)
    mqs_emulator.faults.latency_s = 3.0
    began = time.monotonic()
    assert MqsHook().test_connection() == (
        False,
        "login failed: no answer in time: try again, or run the doctor command.",
    )
    assert time.monotonic() - began < 3
