"""
SDK-HMAC-SHA256, the signature of Huawei Cloud access keys, as pure functions.

Source: Huawei Cloud API Gateway developer guide, "Signing algorithm"; checked in the tests against the published
example and against the vendor's own signer.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_mqs.core.client.flow import Request

ALGORITHM = "SDK-HMAC-SHA256"


def sign(request: Request, *, access_key: str, secret_key: str, security_token: str, now: datetime) -> Request:
    """
    Return the request with ``Host``, ``X-Sdk-Date``, ``Authorization`` and, for temporary keys, ``X-Security-Token``.

    Every header that the request carries is signed. The service refuses a ``now`` (UTC) that is 15 minutes off.
    """
    date = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {**request.headers, "Host": urlsplit(request.url).netloc, "X-Sdk-Date": date}
    if security_token:
        headers["X-Security-Token"] = security_token
    names = ";".join(sorted(name.lower() for name in headers if "_" not in name))
    hashed = _sha256(canonical_request(request.method, request.url, headers, request.body).encode())
    signature = hmac.new(secret_key.encode(), f"{ALGORITHM}\n{date}\n{hashed}".encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = f"{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={signature}"
    return replace(request, headers=headers)


def canonical_request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the one form of a request that both sides hash; headers with an underscore are left out."""
    parts = urlsplit(url)
    path = quote(unquote(parts.path), safe="/~")
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    signed = {name.lower(): value.strip() for name, value in headers.items() if "_" not in name}
    lines = [f"{name}:{signed[name]}\n" for name in sorted(signed)]
    return "\n".join(
        [
            method,
            path if path.endswith("/") else f"{path}/",
            "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query),
            "".join(lines),
            ";".join(sorted(signed)),
            _sha256(body),
        ]
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
