"""
The connection form for Airflow before 3.2, from the same table as the metadata that later series read.

Only the names that Airflow 3.1 stands in for are used, and only inside the functions: neither wtforms nor the FAB
provider need be installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_mqs.core.connection.fields import (
    CONNECTION_FIELDS,
    HIDDEN_FIELDS,
    PLACEHOLDERS,
    RELABELING,
)

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.field_types import Field


def widgets() -> dict[str, Any]:
    """
    Build the form's input fields.

    :return: one wtforms field for each extra field of the connection
    """
    return {field.name: _widget(field) for field in CONNECTION_FIELDS}


def behaviour() -> dict[str, Any]:
    """
    Say how the standard fields look.

    :return: hidden fields, labels and placeholders
    """
    return {
        "hidden_fields": list(HIDDEN_FIELDS),
        "relabeling": dict(RELABELING),
        "placeholders": dict(PLACEHOLDERS),
    }


def _widget(field: Field) -> Any:
    wtforms, validators = import_module("wtforms"), import_module("wtforms.validators")
    looks = import_module("flask_appbuilder.fieldwidgets")
    # floats and lists are text here: Airflow 3.1 stands in for no better field, and the settings' reader coerces
    kinds = {"bool": wtforms.BooleanField, "int": wtforms.IntegerField, "secret": wtforms.PasswordField}
    arguments: dict[str, Any] = {"description": field.description, "default": field.default}
    if field.kind != "bool":
        look = looks.BS3PasswordFieldWidget if field.kind == "secret" else looks.BS3TextFieldWidget
        arguments["widget"] = look()
    choices = [validators.any_of(list(field.choices))] if field.choices else []
    return kinds.get(field.kind, wtforms.StringField)(
        import_module("flask_babel").lazy_gettext(field.label),
        validators=[validators.Optional(), *choices],
        **arguments,
    )
