"""
The vendor's request signature SDK-HMAC-SHA256, from the side of whoever checks it.

Written from the description of the algorithm (API Gateway, "AK/SK signing"), apart from the client's signer, so that
each of the two tests the other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from airflow_provider_mqs.emulator.http import HttpRequest

ALGORITHM = "SDK-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    ALGORITHM
    + r" Access=(?P<access>[^,\s]+), ?SignedHeaders=(?P<names>[^,\s]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def parse_authorization(value: str) -> tuple[str, tuple[str, ...], str] | None:
    """Split an ``Authorization`` header into access key id, names of the signed headers and signature."""
    match = _AUTHORIZATION.fullmatch(value)
    return (match["access"], tuple(match["names"].split(";")), match["signature"]) if match else None


def signature(request: HttpRequest, names: tuple[str, ...], secret: str) -> str:
    """Return the signature that a request must have, given the lower-case names of its signed headers."""
    uri = "/".join(quote(unquote(part), safe="~") for part in request.path.split("/"))
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in request.query.items())
    canonical = "\n".join(
        (
            request.method,
            uri if uri.endswith("/") else uri + "/",
            "&".join(f"{name}={value}" for name, value in pairs),
            "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in names),
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{request.headers.get('x-sdk-date', '')}\n{digest}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def signed_at_s(request: HttpRequest) -> float | None:
    """Return the epoch seconds of ``X-Sdk-Date``; ``None`` if it is absent or unreadable."""
    try:
        return datetime.strptime(request.headers.get("x-sdk-date", ""), "%Y%m%dT%H%M%S%z").timestamp()
    except ValueError:
        return None
