"""Both transports do the same on a real socket: a whole response or how far it came, and no secret elsewhere."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_mqs.core.client.flow import Request
from airflow_provider_mqs.exceptions import ConfigurationError, TransportError
from tests.core.client.certificates import Authority
from tests.core.client.recorder import DROP, SILENCE, recording
from tests.support import settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_mqs.core.connection.settings import ConnectionSettings
    from tests.core.client.conftest import Exchange

TOKEN = {"X-Auth-Token": "s3cret", "Content-Type": "application/json;charset=UTF-8"}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def settings(**changes: Any) -> ConnectionSettings:
    return replace(settings_for(), connect_timeout=5.0, read_timeout=5.0, **changes)


def get(url: str, method: str = "GET") -> Request:
    return Request(method, url, TOKEN)


@pytest.fixture
def refused_url() -> Iterator[str]:
    """Return the URL of a port of this machine that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_request_arrives_as_it_is(exchange: Exchange) -> None:
    """Method, target, headers and body reach the service byte by byte."""
    with recording() as server:
        target = "/v2/p/mqs/instances/i/messages?topic=a%20b%2Bc%2F%C3%BC~&asc=true"
        exchange(
            settings(),
            Request("GET", server.url + target, TOKEN),
            Request("POST", f"{server.url}/action?action_id=resend", TOKEN, '{"topic": "ü"}'.encode()),
        )

    query, resend = server.requests
    assert (query.method, query.target, query.body) == ("GET", target, b"")
    assert (resend.method, resend.target, resend.body) == (
        "POST",
        "/action?action_id=resend",
        '{"topic": "ü"}'.encode(),
    )
    for seen in server.requests:
        assert seen.headers["x-auth-token"] == "s3cret"
        assert seen.headers["content-type"] == "application/json;charset=UTF-8"
        assert seen.headers["user-agent"].startswith("airflow-provider-mqs/")


@pytest.mark.parametrize("status", [200, 404, 429, 502])
def test_whole_response_comes_back_whatever_its_status(exchange: Exchange, status: int) -> None:
    """The transport decides nothing; header names come in lower case."""
    with recording((status, {"Retry-After": "7", "X-Request-Id": "r-1"}, b"\xff{not json")) as server:
        (answer,) = exchange(settings(), get(server.url))

    assert (answer.status, answer.body) == (status, b"\xff{not json")
    assert (answer.headers["retry-after"], answer.headers["x-request-id"]) == ("7", "r-1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirect_is_not_followed(exchange: Exchange, status: int, method: str) -> None:
    """The server that it points to never sees a connection, let alone the token."""
    with recording() as elsewhere, recording((status, {"Location": elsewhere.url}, b"")) as server:
        (answer,) = exchange(settings(), get(server.url, method))

    assert answer.status == status
    assert elsewhere.sockets == 0


def test_connections_are_used_again(exchange: Exchange) -> None:
    """Five requests cost one socket."""
    with recording() as server:
        exchange(settings(), *[get(server.url, method) for method in ("GET", "POST", "GET", "POST", "GET")])

    assert (len(server.requests), server.sockets) == (5, 1)


def test_no_cookie_is_kept(exchange: Exchange) -> None:
    """A cookie of one response is not sent with the next request."""
    with recording((200, {"Set-Cookie": "session=1; Path=/"}, b"")) as server:
        exchange(settings(), get(server.url), get(server.url))

    assert ["cookie" in seen.headers for seen in server.requests] == [False, False]


def test_netrc_is_not_read(exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of the machine's user neither replace ours nor go anywhere."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    signed = {"Authorization": "SDK-HMAC-SHA256 Access=ak"}

    with recording() as server:
        exchange(settings(), get(server.url), Request("GET", server.url, signed))

    assert [seen.headers.get("authorization") for seen in server.requests] == [None, "SDK-HMAC-SHA256 Access=ak"]


def phase_of(exchange: Exchange, settings: ConnectionSettings, request: Request) -> str:
    with pytest.raises(TransportError) as caught:
        exchange(settings, request)
    assert "s3cret" not in str(caught.value)
    return caught.value.phase


def test_refused_port_is_a_failed_connect(exchange: Exchange, refused_url: str) -> None:
    """Nothing was sent, so even a resend may be repeated."""
    assert phase_of(exchange, settings(), get(refused_url, "POST")) == "connect"


def test_unknown_host_is_a_failed_resolve(exchange: Exchange) -> None:
    """A name without an address differs from a service that is down."""
    assert phase_of(exchange, settings(), get("https://mqs.invalid/")) == "resolve"


def test_connect_that_hangs_ends(exchange: Exchange) -> None:
    """The connect timeout is the connection's, and nothing was sent."""
    with socket.socket() as full, socket.socket() as one, socket.socket() as other:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (one, other):  # a queue of 0 holds one; all further ones hang
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"

        assert phase_of(exchange, replace(settings(), connect_timeout=0.2), get(url, "POST")) == "connect"


@pytest.mark.parametrize(
    "answer", [DROP, SILENCE, (200, {"Content-Length": "100"}, b"ten bytes.")], ids=["dropped", "silent", "cut"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_incomplete_response_leaves_the_result_unknown(exchange: Exchange, answer: Any, method: str) -> None:
    """The request arrived, a POST only once, and its result is unknown."""
    with recording(answer) as server:
        assert phase_of(exchange, replace(settings(), read_timeout=0.2), get(server.url, method)) == "exchange"

    # aiohttp by itself asks once more if a GET was cut off
    assert len(server.requests) in ({1} if method == "POST" else {1, 2})


def _tls(certificate: Path, clients: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


@pytest.fixture
def server_tls(authority: Authority) -> ssl.SSLContext:
    """Give the service a certificate of our CA."""
    return _tls(authority.issue("server", address="127.0.0.1"))


def test_untrusted_certificate_is_refused(exchange: Exchange, server_tls: ssl.SSLContext) -> None:
    """The request is not even sent."""
    with recording(tls=server_tls) as server:
        assert phase_of(exchange, settings(), get(server.url, "POST")) == "tls"

    assert server.requests == []


def test_refused_certificate_has_a_reason(exchange: Exchange, server_tls: ssl.SSLContext) -> None:
    """OpenSSL's reason distinguishes an unknown CA from an expired certificate."""
    with recording(tls=server_tls) as server, pytest.raises(TransportError, match=r"not trusted \(.*(issuer|signed)"):
        exchange(settings(), get(server.url))


def test_certificate_of_another_name_is_refused(exchange: Exchange, authority: Authority) -> None:
    """A trusted CA does not make another host ours."""
    with recording(tls=_tls(authority.issue("other", address="127.0.0.2"))) as server:
        assert phase_of(exchange, settings(ca_bundle=str(authority.path)), get(server.url)) == "tls"


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_ca_bundle_is_trusted(
    exchange: Exchange, authority: Authority, server_tls: ssl.SSLContext, folder: bool
) -> None:
    """It may be a file or a folder of files."""
    bundle = authority.folder() if folder else authority.path

    with recording(tls=server_tls) as server:
        assert exchange(settings(ca_bundle=str(bundle)), get(server.url))[0].status == 200


def test_ca_bundle_is_trusted_instead_of_the_platforms(
    exchange: Exchange,
    authority: Authority,
    server_tls: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a CA bundle, the platform's CAs are no longer trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    other = Authority(tmp_path, "another ca")

    with recording(tls=server_tls) as server:
        assert phase_of(exchange, settings(ca_bundle=str(other.path)), get(server.url)) == "tls"


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verification_can_be_turned_off(exchange: Exchange, server_tls: ssl.SSLContext) -> None:
    """With verify_tls false, any certificate is accepted."""
    with recording(tls=server_tls) as server:
        assert exchange(settings(verify_tls=False), get(server.url))[0].status == 200


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("verify", [True, False])
def test_client_certificate_is_sent(exchange: Exchange, authority: Authority, verify: bool) -> None:
    """A service that requires a client certificate gets it."""
    tls = _tls(authority.issue("server", address="127.0.0.1"), clients=authority.path)
    ours = settings(ca_bundle=str(authority.path), client_cert=str(authority.issue("airflow")), verify_tls=verify)

    with recording(tls=tls) as server:
        exchange(ours, get(server.url))

    assert server.requests[0].peer["subject"] == ((("commonName", "airflow"),),)


@pytest.mark.parametrize("field", ["ca_bundle", "client_cert"])
def test_file_without_a_certificate_is_one_sentence(exchange: Exchange, tmp_path: Path, field: str) -> None:
    """The error names the field, and no request is tried."""
    file = tmp_path / "file.pem"
    file.write_text("no certificate")

    with pytest.raises(ConfigurationError, match=rf"'{field}' cannot be read.*[.]$"):
        exchange(settings(**{field: str(file)}), get("https://127.0.0.1:1"))


def test_encrypted_key_is_one_sentence(exchange: Exchange, authority: Authority) -> None:
    """Nobody could type its password, so nobody is asked for it."""
    file = authority.issue("encrypted", password=b"pw")

    with pytest.raises(ConfigurationError, match="'client_cert' cannot be read"):
        exchange(settings(client_cert=str(file)), get("https://127.0.0.1:1"))


def test_proxy_of_the_connection_is_used(exchange: Exchange) -> None:
    """The request goes to the proxy with the proxy's credentials, and the service's name is not resolved here."""
    with recording() as proxy:
        address = proxy.url.replace("://", "://user:p%40ss@")
        (answer,) = exchange(settings(proxy=address), get("http://mqs.invalid/v2"))

    assert answer.status == 200
    assert proxy.requests[0].target == "http://mqs.invalid/v2"
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"


def test_proxy_of_the_environment_is_used(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the connection names none, HTTP_PROXY counts."""
    with recording() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        exchange(settings(), get("http://mqs.invalid/v2"))

    assert proxy.requests[0].target == "http://mqs.invalid/v2"


def test_hosts_of_no_proxy_are_reached_directly(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names are resolved here, and the proxy sees nothing."""
    with recording() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "mqs.invalid")

        assert phase_of(exchange, settings(), get("http://mqs.invalid/v2")) == "resolve"

    assert proxy.sockets == 0


def test_this_machine_is_reached_directly(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy could reach the local service."""
    with recording() as server, recording() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        exchange(settings(proxy=proxy.url), get(server.url))

    assert (len(server.requests), proxy.sockets) == (1, 0)


def test_proxy_that_is_down_is_a_failed_connect(exchange: Exchange, refused_url: str) -> None:
    """Nothing reached the service."""
    assert phase_of(exchange, settings(proxy=refused_url), get("http://mqs.invalid/", "POST")) == "connect"
