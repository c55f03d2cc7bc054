"""
The connection form for Airflow before 3.2, from the same table as the metadata that later series read.

Uses only names that Airflow 3.1 has stand-ins for, and imports them late: neither wtforms nor the FAB provider need be
installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from airflow_provider_mqs.core.connection import fields


def widgets() -> dict[str, Any]:
    """Return one wtforms field for each extra field of the connection."""
    wtforms, validators = import_module("wtforms"), import_module("wtforms.validators")
    fieldwidgets = import_module("flask_appbuilder.fieldwidgets")
    translate = import_module("flask_babel").lazy_gettext
    # floats and lists are text here: Airflow 3.1 has no stand-in for a better field, and ``Field.read`` coerces
    kinds = {"bool": wtforms.BooleanField, "int": wtforms.IntegerField, "secret": wtforms.PasswordField}
    form: dict[str, Any] = {}
    for field in fields.CONNECTION_FIELDS:
        arguments: dict[str, Any] = {"description": field.description, "default": field.form_default}
        if field.kind != "bool":
            is_secret = field.kind == "secret"
            widget = fieldwidgets.BS3PasswordFieldWidget if is_secret else fieldwidgets.BS3TextFieldWidget
            arguments["widget"] = widget()
        choices = [validators.any_of(list(field.choices))] if field.choices else []
        form[field.name] = kinds.get(field.kind, wtforms.StringField)(
            translate(field.label), validators=[validators.Optional(), *choices], **arguments
        )
    return form
