"""
Every refusal of the service in one table: status, number and sentence, as the vendor's error pages have them.

Which prefix and which shape of body a deployment uses is a switch in ``behaviour``; ``http`` renders them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One documented refusal."""

    status: int
    family: Literal["gateway", "service", "dms", "iam"]  # who refuses: decides the prefix and the shape of the body
    number: str  # what follows the prefix
    message: str


ERRORS = {
    "not_published": ErrorSpec(
        404, "gateway", "0101", "The API does not exist or has not been published in the environment"
    ),
    "bad_auth": ErrorSpec(401, "gateway", "0301", "Incorrect IAM authentication information"),
    "token_dead": ErrorSpec(401, "gateway", "0307", "The token must be updated."),
    "denied": ErrorSpec(403, "gateway", "0302", "The IAM user is not authorized to access the API."),
    "throttled": ErrorSpec(429, "gateway", "0308", "The throttling threshold has been reached"),
    "backend_down": ErrorSpec(502, "gateway", "0202", "Backend unavailable"),
    "backend_timeout": ErrorSpec(504, "gateway", "0203", "Backend timeout."),
    "iam_unavailable": ErrorSpec(503, "gateway", "0613", "IAM is unavailable"),
    "invalid_project": ErrorSpec(400, "service", "00400002", "Invalid project ID format."),
    "empty_body": ErrorSpec(400, "service", "00400004", "The request body is empty."),
    "invalid_body": ErrorSpec(400, "service", "00400005", "The request body is not JSON or has invalid fields"),
    "instance_state": ErrorSpec(
        400, "service", "00400026", "This operation is not allowed in the current state of the instance."
    ),
    "invalid_instance": ErrorSpec(400, "service", "00400030", "Invalid instance ID format."),
    "invalid_parameter": ErrorSpec(400, "service", "00400062", "Invalid parameter"),
    "invalid_timestamp": ErrorSpec(400, "service", "00400142", "Invalid timestamp"),
    "no_topic": ErrorSpec(400, "service", "00400975", "Failed to query topics"),
    "forbidden": ErrorSpec(403, "service", "00403003", "This role does not have the permissions for this operation."),
    "no_message": ErrorSpec(404, "service", "00404033", "The message does not exist"),
    "no_instance": ErrorSpec(404, "service", "00404022", "This instance does not exist."),
    "no_method": ErrorSpec(405, "service", "00405001", "This request method is not allowed."),
    "internal": ErrorSpec(500, "service", "00500000", "Internal service error."),
    "page_too_large": ErrorSpec(400, "dms", "10240042", "Invalid page size"),
    "skip_too_large": ErrorSpec(400, "dms", "10240043", "Invalid number of skipped pages"),
    "other_project": ErrorSpec(401, "dms", "10240104", "The project ID does not match the token."),
    "throttled_404": ErrorSpec(
        404, "dms", "10240407", "The request is too frequent. Flow control is being performed. Try again later."
    ),
    "query_timeout": ErrorSpec(408, "dms", "111501024", "Message query timed out. Please query later."),
    "query_busy": ErrorSpec(503, "dms", "111501025", "The message query service is busy. Please query later."),
    "query_too_large": ErrorSpec(
        501, "dms", "111501026", "The query reached the maximum number of bytes. Shorten the time range."
    ),
    "iam_body": ErrorSpec(400, "iam", "0011", "Invalid request body."),
    "iam_locked": ErrorSpec(401, "iam", "0061", "The account has been locked because of too many wrong passwords."),
    "iam_password": ErrorSpec(401, "iam", "0062", "The username or password is wrong."),
    "iam_project": ErrorSpec(404, "iam", "0004", "Could not find the project."),
}


class ServiceError(Exception):
    """A refusal on its way to the response: a key of ``ERRORS``, and what exactly was wrong."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(name, detail)
        self.spec = ERRORS[name]
        self.message = f"{self.spec.message}: {detail}" if detail else self.spec.message
