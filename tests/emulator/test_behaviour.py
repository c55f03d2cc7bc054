"""The switches and their documentation."""

from __future__ import annotations

import dataclasses

import pytest

from airflow_provider_mqs import emulator
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import SETTABLE, Faults


def test_switches_are_set_by_name_as_json_has_them() -> None:
    """A list becomes a set, and null switches a bound off."""
    changed = Behaviour().changed({"paging": "row", "cap": None, "styles": ["dms", "mqs"], "token_lifetime_s": 5})
    assert (changed.paging, changed.cap, changed.styles) == ("row", None, frozenset({"dms", "mqs"}))
    assert changed.as_json()["styles"] == ["dms", "mqs"]
    assert Behaviour().changed(changed.as_json()) == changed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pages": 1}, "There is no switch 'pages'"),
        ({"paging": "rows"}, "takes one of 'page0', 'page1', 'row'"),
        ({"cap": "many"}, r"takes int \| None"),
        ({"cap": True}, r"takes int \| None"),
        ({"end_inclusive": 1}, "takes bool"),
        ({"styles": "mqs"}, "styles='mqs'"),
    ],
    ids=str,
)
def test_wrong_switches_get_a_sentence(changes: dict[str, object], sentence: str) -> None:
    """It names the switch and the values that it takes."""
    with pytest.raises(ValueError, match=sentence):
        Behaviour().changed(changes)


def test_every_switch_is_explained() -> None:
    """It has a line in its class and in the table of what is known and inferred."""
    for field in dataclasses.fields(Behaviour):
        assert f":param {field.name}:" in (Behaviour.__doc__ or "")
        assert field.name in (emulator.__doc__ or "")


def test_every_value_among_the_faults_is_explained() -> None:
    """Rules are explained by their lines in the class."""
    plain = [name for name in SETTABLE if name not in Faults().__dict__ or not hasattr(getattr(Faults(), name), "next")]
    assert all(f":param {name}:" in (Faults.__doc__ or "") for name in plain)
