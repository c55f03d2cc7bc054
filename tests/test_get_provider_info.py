"""What Airflow reads about this package, and that both ways of making the connection form agree."""

from __future__ import annotations

import importlib
import json
import re
import sys
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

import airflow_provider_mqs
from airflow_provider_mqs.core.connection.fields import CONNECTION_FIELDS, FIELDS_BY_NAME
from airflow_provider_mqs.get_provider_info import get_provider_info
from airflow_provider_mqs.hooks.mqs import MqsHook
from tests.airflow import AIRFLOW

INFO = get_provider_info()
CONNECTION = INFO["connection-types"][0]
HAS_A_FORM = pytest.mark.skipif(
    (3, 0) <= AIRFLOW < (3, 2) and find_spec("flask_appbuilder") is None,
    reason="Airflow 3.0 and 3.1 make the form of FAB's fields; without FAB only the UI of 3.1 has one",
)


def _schema(name: str) -> dict[str, Any]:
    path = Path(airflow.__path__[0]) / name
    if not path.exists():
        pytest.skip(f"this Airflow has no {name}")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_package_name_is_the_distribution() -> None:
    """Airflow discovers no provider at all if the two differ."""
    assert INFO["package-name"] == distribution("airflow-provider-mqs").metadata["Name"]


def test_info_fits_the_runtime_schema() -> None:
    """The schema that Airflow checks at run time accepts it."""
    jsonschema.validate(INFO, _schema("provider_info.schema.json"))


def test_connection_types_fit_the_form_schema() -> None:
    """The strict schema of the connection form accepts our fields."""
    schema = _schema("provider.yaml.schema.json")["properties"]["connection-types"]
    if "conn-fields" not in schema["items"]["properties"]:
        pytest.skip("this Airflow makes the form from the hook")
    jsonschema.validate(INFO["connection-types"], schema)


def test_info_is_plain_json() -> None:
    """Airflow caches and prints it."""
    assert json.loads(json.dumps(INFO)) == INFO


def test_every_setting_that_is_read_is_declared() -> None:
    """Airflow lists the options of ``[mqs]`` from the metadata; none is read that is not there, nor the other way."""
    sources = "".join(path.read_text() for path in Path(airflow_provider_mqs.__file__).parent.rglob("*.py"))

    read = set(re.findall(r'conf\.get\w*\(\s*"mqs", "(\w+)"', sources))
    assert read == INFO["config"]["mqs"]["options"].keys()


def test_hook_class_is_the_one_that_is_named() -> None:
    """The class path leads to the hook, whose attributes agree with the metadata."""
    module, _, name = CONNECTION["hook-class-name"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is MqsHook
    assert (MqsHook.conn_type, MqsHook.hook_name) == (CONNECTION["connection-type"], CONNECTION["hook-name"])


def test_commands_are_where_the_info_says() -> None:
    """The path leads to a function that returns a list of commands."""
    (path,) = INFO["cli"]
    module, _, name = path.rpartition(".")
    assert [group.name for group in getattr(importlib.import_module(module), name)()] == ["mqs"]


class _Field:
    """A stand-in for a wtforms field that keeps its arguments."""

    def __init__(self, label: str, **arguments: Any) -> None:
        self.label = label
        self.arguments = arguments


class _StringField(_Field): ...


class _PasswordField(_Field): ...


class _IntegerField(_Field): ...


class _BooleanField(_Field): ...


@pytest.fixture
def form(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the hook's form, made with only the names that Airflow 3.1 substitutes."""
    modules = {
        "wtforms": {
            field.__name__[1:]: field for field in (_StringField, _PasswordField, _IntegerField, _BooleanField)
        },
        "wtforms.validators": {"Optional": lambda: None, "any_of": lambda values: values},
        "flask_babel": {"lazy_gettext": str},
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {
            "BS3TextFieldWidget": lambda: "text",
            "BS3PasswordFieldWidget": lambda: "password",
            "BS3TextAreaFieldWidget": lambda: "area",
        },
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return MqsHook.get_connection_form_widgets()


def test_both_forms_have_the_same_fields(form: dict[str, Any]) -> None:
    """Hook and metadata have the fields of the table, in its order."""
    assert list(form) == list(CONNECTION["conn-fields"]) == [field.name for field in CONNECTION_FIELDS]


@pytest.mark.parametrize("name", list(FIELDS_BY_NAME))
def test_both_forms_say_the_same(form: dict[str, Any], name: str) -> None:
    """Label, help, default, choices and visibility of a field are equal in both forms."""
    widget, field = form[name], CONNECTION["conn-fields"][name]
    assert (widget.label, widget.arguments["description"]) == (field["label"], field["description"])
    assert widget.arguments["default"] == field["schema"].get("default")
    assert [item for item in widget.arguments["validators"] if item] == (
        [field["schema"]["enum"]] if "enum" in field["schema"] else []
    )
    assert isinstance(widget, _PasswordField) == (field["schema"].get("format") == "password")
    assert isinstance(widget, _BooleanField) == ("boolean" in field["schema"]["type"])


def test_both_behaviours_say_the_same() -> None:
    """Hidden fields, labels and placeholders differ only in the spelling of their keys."""
    metadata = {name.replace("-", "_"): value for name, value in CONNECTION["ui-field-behaviour"].items()}
    assert MqsHook.get_ui_field_behaviour() == metadata


def test_no_field_is_required_by_the_form() -> None:
    """A required field would block saving; the hook, which knows the auth_type, reports what is missing."""
    assert all("null" in field["schema"]["type"] for field in CONNECTION["conn-fields"].values())


def test_form_is_made_by_the_class_itself() -> None:
    """Airflow before 3.2 ignores the base classes of the hook."""
    assert {"get_connection_form_widgets", "get_ui_field_behaviour"} <= vars(MqsHook).keys()


@HAS_A_FORM
def test_providers_manager_knows_every_field() -> None:
    """Airflow's own registry of form fields has ours, whichever of the two it reads."""
    known = ProvidersManager().connection_form_widgets
    assert {name for name in known if name.startswith("extra__mqs__")} == {
        f"extra__mqs__{name}" for name in FIELDS_BY_NAME
    }


@HAS_A_FORM
def test_form_of_this_airflow_shows_our_fields() -> None:
    """Airflow's own service for the form returns our labels, defaults and choices."""
    connections = pytest.importorskip("airflow.api_fastapi.core_api.services.ui.connections")
    metas = {meta.connection_type: meta for meta in connections.HookMetaService.hook_meta_data()}
    fields = metas["mqs"].extra_fields
    assert list(fields) == list(FIELDS_BY_NAME)
    assert metas["mqs"].standard_fields.host.title == "MQS endpoint"
    assert fields["paging"]["schema"]["enum"] == ["auto", "page", "row"]
    assert fields["page_size"]["value"] == FIELDS_BY_NAME["page_size"].default
