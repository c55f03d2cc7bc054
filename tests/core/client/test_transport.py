"""Which proxy a request takes; certificates are tested with the transports."""

from __future__ import annotations

import pytest

from airflow_provider_mqs.core.client.transport import Proxies, proxy_for

ENVIRONMENT = "http://environment.example.com:3128"
CONFIGURED = "http://connection.example.com:3128"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", ENVIRONMENT)
    monkeypatch.setenv("NO_PROXY", "internal.example.com, .corp.example.com, ported.example.com:8443")


@pytest.mark.parametrize(
    ("url", "configured", "proxy"),
    [
        ("https://mqs.example.com/v2", None, ENVIRONMENT),
        ("https://mqs.example.com/v2", CONFIGURED, CONFIGURED),
        ("http://mqs.example.com/v2", None, None),
        ("http://mqs.example.com/v2", CONFIGURED, CONFIGURED),
        ("https://internal.example.com/v2", None, None),
        ("https://internal.example.com:8443/v2", None, None),
        ("https://ported.example.com:8443/v2", None, None),
        ("https://ported.example.com/v2", None, ENVIRONMENT),
        ("https://a.corp.example.com/v2", None, None),
        ("https://internal.example.com/v2", CONFIGURED, CONFIGURED),
        ("https://localhost:8089/v2", None, None),
        ("https://mqs.localhost:8089/v2", None, None),
        ("https://127.0.0.1:8089/v2", CONFIGURED, None),
        ("https://127.8.9.1:8089/v2", CONFIGURED, None),
        ("https://[::1]:8089/v2", CONFIGURED, None),
    ],
)
def test_proxy_of_a_request(url: str, configured: str | None, proxy: str | None) -> None:
    """The connection's proxy, else the environment's unless NO_PROXY names the host; none for this machine."""
    assert proxy_for(url, configured) == Proxies(configured).of(url) == proxy


def test_the_environment_is_read_once_for_each_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it for each request took longer than the request itself."""
    proxies = Proxies(None)
    proxies.of("https://mqs.example.com/v2/a")
    monkeypatch.delenv("HTTPS_PROXY")

    assert proxies.of("https://mqs.example.com/v2/b") == ENVIRONMENT
    assert proxies.of("https://iam.example.com/v3") is None
