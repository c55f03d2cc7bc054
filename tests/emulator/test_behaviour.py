"""The switches and their documentation."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools

import pytest

from airflow_provider_mqs import emulator
from airflow_provider_mqs.emulator.behaviour import Behaviour
from airflow_provider_mqs.emulator.faults import KINDS, SETTABLE, Faults, Rule, Turn


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


def _explained(owner: type) -> set[str]:
    """Return the fields of a class that are followed by a docstring."""
    [definition] = ast.parse(inspect.getsource(owner)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def test_every_switch_is_explained() -> None:
    """It has a docstring, and a place in the table of what is known and inferred."""
    names = {field.name for field in dataclasses.fields(Behaviour)}
    assert _explained(Behaviour) == names
    assert all(name in (emulator.__doc__ or "") for name in names)


def test_every_value_among_the_faults_is_explained() -> None:
    """The rules are explained by their lines in the class, and the fields of a rule in its own."""
    assert _explained(Faults) == set(SETTABLE) - KINDS.keys()
    for owner in (Rule, Turn):
        assert _explained(owner) == {field.name for field in dataclasses.fields(owner)}
