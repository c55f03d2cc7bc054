"""The table of connection fields, and how one field reads a raw value."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import airflow_provider_mqs
from airflow_provider_mqs.core.connection.fields import CONNECTION_FIELDS, FIELDS_BY_NAME, HIDDEN_FIELDS
from airflow_provider_mqs.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.field_types import Field

MASKED_WORDS = ("token", "proxy", "secret", "password")


@pytest.mark.parametrize(
    ("name", "raw", "typed"),
    [
        ("verify_tls", True, True),
        ("verify_tls", "false", False),
        ("verify_tls", " On ", True),
        ("verify_tls", 0, False),
        ("page_size", 5, 5),
        ("page_size", "5", 5),
        ("page_size", 5.0, 5),
        ("read_timeout", "2.5", 2.5),
        ("max_rate", 50, 50.0),
        ("resend_topics", ["a", " b "], ("a", "b")),
        ("resend_topics", "a, b,", ("a", "b")),
        ("resend_topics", '["a", "b-*"]', ("a", "b-*")),
        ("resend_topics", "orders", ("orders",)),
        ("paging", "row", "row"),
        ("auth_token", "MIIE+/=", "MIIE+/="),
    ],
)
def test_values_and_their_text_forms_are_read(name: str, raw: Any, typed: Any) -> None:
    """Values come typed from JSON and as text from URIs; both are read."""
    assert FIELDS_BY_NAME[name].read(raw) == typed


@pytest.mark.parametrize("field", CONNECTION_FIELDS, ids=lambda field: field.name)
@pytest.mark.parametrize("absent", [None, ""])
def test_null_and_empty_mean_absent(field: Any, absent: Any) -> None:
    """The form writes null for each empty field; it then has its default."""
    assert field.read(absent) == field.default


@pytest.mark.parametrize("field", CONNECTION_FIELDS, ids=lambda field: field.name)
def test_default_reads_as_itself(field: Any) -> None:
    """The form writes the defaults into extra, so they must be valid values."""
    assert field.read(field.default) == field.default


def _read(field: Field, raw: Any) -> tuple[Any, str]:
    try:
        return field.read(raw), f"'{field.name}'"
    except ConfigurationError as error:
        return field.default, str(error)


@given(
    raw=st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists),
    index=st.integers(0, len(CONNECTION_FIELDS) - 1),
)
def test_any_value_is_read_or_refused_by_name(raw: Any, index: int) -> None:
    """Any JSON value becomes a typed value, or an error that names the field."""
    field = CONNECTION_FIELDS[index]
    kinds = {"bool": bool, "int": int, "float": float, "list": tuple, "text": str, "secret": str}
    typed, refusal = _read(field, raw)
    assert typed == field.default or isinstance(typed, kinds[field.kind])
    assert f"'{field.name}'" in refusal


def test_file_must_exist(tmp_path: Any) -> None:
    """A path is accepted if something exists there."""
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert FIELDS_BY_NAME["ca_bundle"].read(str(bundle)) == str(bundle)


@pytest.mark.parametrize("name", FIELDS_BY_NAME)
def test_each_field_is_used(name: str) -> None:
    """A field in the form has an effect: some module reads it from the settings."""
    package = Path(airflow_provider_mqs.__file__).parent
    assert any(re.search(rf"\.{name}\b", module.read_text()) for module in package.rglob("*.py"))


def test_names_of_secrets_are_ones_that_airflow_masks() -> None:
    """Airflow masks extras by the words in their names, whatever the form declares."""
    secrets = [field.name for field in CONNECTION_FIELDS if field.kind == "secret"]
    assert secrets
    assert all(any(word in name for word in MASKED_WORDS) for name in secrets)


def test_port_is_visible() -> None:
    """Airflow 3.3.2 cannot test a connection with an empty port, so users must be able to enter it."""
    assert "port" not in HIDDEN_FIELDS


def test_table_is_cheap_to_import() -> None:
    """Provider discovery imports the table in every process, so it must not pull in Airflow or HTTP."""
    code = (
        "import sys, airflow_provider_mqs.get_provider_info\n"
        "print([name for name in ('airflow', 'requests', 'aiohttp', 'pendulum', 'wtforms') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
