"""Addresses: spelling, scheme, and what a name reveals."""

from __future__ import annotations

import pytest

from airflow_provider_mqs.core.connection.endpoints import is_loopback, parse_endpoint, region_of, regional_iam


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("roma.example.com", "https://roma.example.com"),
        ("https://roma.example.com", "https://roma.example.com"),
        ("HTTPS://ROMA.Example.com/", "https://roma.example.com"),
        ("https://roma.example.com:443/gw/v1/", "https://roma.example.com/gw/v1"),
        ("roma.example.com:8443/gw", "https://roma.example.com:8443/gw"),
        ("roma.example.com.", "https://roma.example.com"),
        ("127.0.0.1:8089", "http://127.0.0.1:8089"),
        ("localhost", "http://localhost"),
        ("http://localhost:80", "http://localhost"),
        ("https://localhost:8443", "https://localhost:8443"),
        ("::1", "http://[::1]"),
        ("[::1]:8089", "http://[::1]:8089"),
        ("2001:db8::1", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
    ],
)
def test_spellings_of_an_address(text: str, endpoint: str) -> None:
    """Each usual spelling becomes one form: https unless it is this machine, no usual port, no slash at the end."""
    assert parse_endpoint("host", text) == endpoint


def test_other_fields_complete_the_address() -> None:
    """Scheme and port may come from fields of their own, and may repeat those of the host."""
    assert parse_endpoint("host", "roma.example.com", scheme="HTTPS", port=8443) == "https://roma.example.com:8443"
    assert parse_endpoint("host", "https://roma.example.com:8443", scheme="https", port="8443").endswith(":8443")


def test_port_zero_means_none() -> None:
    """Airflow's form turns an empty port into 0."""
    assert parse_endpoint("host", "roma.example.com", port=0) == "https://roma.example.com"


def test_http_elsewhere_only_when_allowed() -> None:
    """With allow_http, http may go to another host, but https stays the default there."""
    assert parse_endpoint("host", "http://roma.example.com", allow_http=True) == "http://roma.example.com"
    assert parse_endpoint("host", "roma.example.com", allow_http=True) == "https://roma.example.com"


@pytest.mark.parametrize("host", ["localhost", "mqs.localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_this_machine(host: str) -> None:
    """These names always mean this machine."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com", "0.0.0.0", "10.0.0.1", "127.1", ""])  # noqa: S104 - a name, nothing listens
def test_other_machines(host: str) -> None:
    """These look like this machine, but may be another."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "region", "iam"),
    [
        ("roma.cn-north-4.myhuaweicloud.com", "cn-north-4", "https://iam.cn-north-4.myhuaweicloud.com"),
        ("roma.eu-west-101.myhuaweicloud.eu", "eu-west-101", "https://iam.eu-west-101.myhuaweicloud.eu"),
        ("dms.eu-de.otc.t-systems.com", "eu-de", "https://iam.eu-de.otc.t-systems.com"),
        ("mqs.example.com", None, None),
        ("roma.internal.example.com", None, None),
        ("10.0.0.1", None, None),
        ("localhost:8089", None, "http://localhost:8089"),
    ],
)
def test_region_and_iam_from_the_name(host: str, region: str | None, iam: str | None) -> None:
    """A regional host reveals region and login host; this machine serves both; other names reveal nothing."""
    endpoint = parse_endpoint("host", host)
    assert region_of(endpoint) == region
    assert regional_iam(endpoint, region) == iam


def test_iam_of_a_named_region() -> None:
    """Its IAM host is in the cloud of the endpoint, or in the public one."""
    assert regional_iam("https://mqs.example.com", "cn-east-3") == "https://iam.cn-east-3.myhuaweicloud.com"
    assert regional_iam("https://roma.eu-west-0.cloud.example", "eu-west-9") == "https://iam.eu-west-9.cloud.example"


def test_this_machine_is_never_left_for_a_login() -> None:
    """A password for a local service is not sent to the public cloud, even if a region is set."""
    assert regional_iam("http://127.0.0.1:8089", "cn-north-4") == "http://127.0.0.1:8089"
