"""Unsuccessful responses become one class of the tree, by their code first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mqs.core.client import errors
from airflow_provider_mqs.core.client.errors import ERROR_CODES, checked, error_of, number_of
from airflow_provider_mqs.core.client.flow import Response
from airflow_provider_mqs.exceptions import (
    ApiError,
    ApiNotPublishedError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    WindowTooLargeError,
)


def answer(status: int, body: Any = b"", **headers: str) -> Response:
    return Response(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize("status", [200, 201, 204])
def test_success_passes(status: int) -> None:
    """The response itself is returned."""
    response = answer(status)

    assert checked(response) is response


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    ("body", "code", "kind"),
    [
        ({"error_code": "DMS.10240407", "error_msg": "Busy"}, "DMS.10240407", RateLimitedError),
        ({"error_code": 10240407, "error_msg": "Busy"}, "10240407", RateLimitedError),
        ({"errorCode": "MQS.10240104"}, "MQS.10240104", AuthenticationError),
        ({"error": {"code": "APIGW.0307", "message": "Expired"}}, "APIGW.0307", AuthenticationError),
        ({"code": "DMS.111501025", "message": "Busy"}, "DMS.111501025", ServerError),
        ({"messages": [], "total": 0, "error_code": "DMS.111501026"}, "DMS.111501026", WindowTooLargeError),
        ({"topic": "orders", "partition": 0, "error_code": "MQS.00400062"}, "MQS.00400062", ApiError),
        ({"error_code": 400}, "400", ApiError),
        ({"error_code": 308}, "308", ApiError),
        ({"error_code": "E42"}, "E42", ApiError),
        ({"error_code": 0, "code": "E42"}, "0", ApiError),
        ({"error_msg": "It did not work"}, "", ApiError),
        ({"error": "It did not work"}, "", ApiError),
        ('{"error_code": "DMS.10240407"}'.encode("utf-16"), "DMS.10240407", RateLimitedError),
    ],
)
def test_error_in_a_successful_answer_is_an_error(status: int, body: Any, code: str, kind: type[ApiError]) -> None:
    """Some deployments answer 200, and say in the body that nothing was done; an unknown code is an error, too."""
    with pytest.raises(ApiError) as caught:
        checked(answer(status, body))

    assert (type(caught.value), caught.value.error_code, caught.value.status) == (kind, code, status)


@pytest.mark.parametrize("code", ["", None, 0, 0.0, "0", "000000", 200, "200", 201, "OK", "success", False])
@pytest.mark.parametrize("name", ["error_code", "errorCode", "code"])
def test_code_that_says_success_is_no_error(name: str, code: Any) -> None:
    """Nor are its sentence, or empty errors."""
    for more in (
        {},
        {"error_msg": "" if code in ("", None) else "The message was resent."},
        {"error": None},
        {"error": {}},
        {"error": []},
    ):
        response = answer(200, {"topic": "orders", name: code, **more})

        assert checked(response) is response


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"key": "error_code", "tag": '"error"', "partition": 0}], "total": 1},
        {"messages": [{"error_code": "E1", "code": 7}], "total": 1},
        [{"error_code": "E1"}],
        "error_code",
        b'"error',
        b"",
    ],
)
def test_error_code_elsewhere_in_an_answer_means_nothing(body: Any) -> None:
    """A key or a row of a message may be called so."""
    response = answer(200, body)

    assert checked(response) is response


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_refused_with_a_remedy(status: int) -> None:
    """It is never followed, since that would carry the token elsewhere; nor is its target quoted."""
    with pytest.raises(ProtocolError, match=rf"HTTP {status}.*host[.]$") as caught:
        checked(answer(status, location="https://elsewhere.example.com/"))

    assert "elsewhere" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, BadRequestError),
        (408, BadRequestError),
        (413, BadRequestError),
        (429, RateLimitedError),
        (500, ServerError),
        (501, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, ServerError),
        (101, BadRequestError),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html><h1>No</h1></html>", {"error_code": "MQS.99999999"}, {"error_code": 400}]
)
def test_status_decides_if_the_code_does_not(status: int, expected: type[ApiError], body: Any) -> None:
    """An unknown code, an integer, HTML or nothing at all: the status decides."""
    with pytest.raises(ApiError) as caught:
        checked(answer(status, body))

    assert type(caught.value) is expected
    assert caught.value.status == status


@pytest.mark.parametrize("prefix", ["MQS.", "DMS.", "APIG.", "APIGW."])
@pytest.mark.parametrize(
    ("status", "number", "expected"),
    [
        (404, "10240407", RateLimitedError),
        (429, "0308", RateLimitedError),
        (408, "111501024", WindowTooLargeError),
        (501, "111501026", WindowTooLargeError),
        (400, "10240043", WindowTooLargeError),
        (503, "111501025", ServerError),
        (503, "0613", ServerError),
        (404, "0101", ApiNotPublishedError),
        (404, "00404001", ApiNotPublishedError),
        (404, "10240406", ApiNotPublishedError),
        (404, "00404022", NotFoundError),
        (401, "0301", AuthenticationError),
        (401, "0305", AuthenticationError),
        (401, "0307", AuthenticationError),
        (401, "10240101", AuthenticationError),
        (400, "10240102", AuthenticationError),
        (400, "10240103", AuthenticationError),
        (400, "10240104", AuthenticationError),
        (403, "00403003", PermissionDeniedError),
        (400, "10240042", BadRequestError),
    ],
)
def test_code_decides_first_whatever_its_prefix(
    prefix: str, status: int, number: str, expected: type[ApiError]
) -> None:
    """Only the number counts, since prefixes differ between deployments and statuses mislead."""
    error = error_of(answer(status, {"error_code": prefix + number, "error_msg": "No."}))

    assert type(error) is expected
    assert error.error_code == prefix + number


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error_code": "MQS.00400062", "error_msg": "Invalid parameter"}, "MQS.00400062", "Invalid parameter"),
        ({"error_code": 400, "error_msg": "Invalid parameter"}, "400", "Invalid parameter"),
        ({"errorCode": "DMS.00400062", "errorMsg": "Invalid parameter"}, "DMS.00400062", "Invalid parameter"),
        ({"code": "IAM.0011", "message": "Invalid parameter"}, "IAM.0011", "Invalid parameter"),
        ({"error": {"code": 400, "message": "Invalid parameter", "title": "Bad"}}, "400", "Invalid parameter"),
        ({"error": {"error_code": "IAM.0062", "error_msg": "Wrong"}}, "IAM.0062", "Wrong"),
        ({"error": "text", "message": "Wrong"}, "", "Wrong"),
        ({"error_code": None, "code": "IAM.1", "error_msg": None, "message": "Wrong"}, "IAM.1", "Wrong"),
        ({"error_msg": 5}, "", "5"),
        ([1, 2], "", ""),
        ("text", "", ""),
        (b"<html><h1>Bad Gateway</h1></html>", "", ""),
        (b"\xff\xfe", "", ""),
        (b"[" * 100_000, "", ""),
        (b"", "", ""),
    ],
)
def test_every_form_of_a_body_is_read(body: Any, code: str, message: str) -> None:
    """Code and sentence are found wherever a deployment puts them; HTML is not quoted."""
    error = error_of(answer(400, body))

    assert (error.error_code, error.error_msg) == (code, message)


@pytest.mark.parametrize(
    ("headers", "body", "request_id"),
    [
        ({"x-request-id": "r-1"}, {"request_id": "r-2"}, "r-1"),
        ({"x-iam-trace-id": "r-3"}, {}, "r-3"),
        ({}, {"request_id": "r-2"}, "r-2"),
        ({}, {}, ""),
    ],
)
def test_request_id_is_kept_for_the_support(headers: dict[str, str], body: Any, request_id: str) -> None:
    """It comes from the header, else from the body."""
    assert error_of(answer(500, body, **headers)).request_id == request_id


@pytest.mark.parametrize("field", ["error_code", "error_msg", "request_id"])
@pytest.mark.parametrize("bad", ["\n", "\r", "\x00", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_control_characters_do_not_reach_the_log(field: str, bad: str) -> None:
    """The service's text stays on one line and moves no cursor, in whichever field it comes."""
    error = error_of(answer(500, {field: f"DMS.1{bad}x"}))

    assert str(error).isprintable()
    assert "DMS.1" in str(error)


@pytest.mark.parametrize("field", ["error_code", "error_msg", "request_id"])
def test_long_texts_are_shortened(field: str) -> None:
    """A page of text does not fill the log or the XCom."""
    error = error_of(answer(500, {field: "x" * 10_000}))

    assert len(str(error)) < 400
    assert "x…" in str(error)


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("APIGW.0301", "0301"),
        ("DMS.10240407", "10240407"),
        ("400", ""),
        ("308", ""),
        ("10240407", "10240407"),
        ("404001", "00404001"),
        ("00404001", "00404001"),
        ("9" * 300, ""),
        ("", ""),
        ("XYZ.0301", ""),
        ("APIGW.0301\n", ""),
    ],
)
def test_number_follows_a_known_prefix(code: str, number: str) -> None:
    """Or stands alone, if it is too long for an HTTP status; anything else has no number that we know."""
    assert number_of(code) == number


def test_each_code_is_listed_once() -> None:
    """A second row of a number would hide the first."""
    assert len(ERROR_CODES) == len(errors._TABLE)
