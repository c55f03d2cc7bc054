"""What Airflow's provider discovery reads; imports no Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_mqs import __version__
from airflow_provider_mqs.core.connection import fields

if TYPE_CHECKING:
    from airflow_provider_mqs.core.connection.field_types import Field

_INTEGRATION: Final = "Huawei Cloud ROMA Connect MQS"
_JSON_TYPES: Final = {
    "text": "string",
    "secret": "string",
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "list": "array",
}

_OPTIONS: Final = {
    "max_xcom_bytes": {
        "description": (
            "Largest XCom that QueryMessagesOperator may push, in bytes of JSON; a larger one fails the task."
        ),
        "version_added": "0.1.0",
        "type": "integer",
        "example": None,
        "default": "4194304",
    },
    "ledger_path": {
        "description": (
            "Folder for the ledgers of ResendMessagesOperator: an absolute path, or a URL that ObjectStoragePath "
            "supports. Workers on several machines need a folder that they share."
        ),
        "version_added": "0.1.0",
        "type": "string",
        "example": "s3://aws_default@bucket/mqs-ledgers",
        "default": "",
    },
}

_ASSETS: Final = "airflow_provider_mqs.assets.mqs"
_ASSET_URIS: Final = {
    "schemes": ["mqs"],
    "handler": f"{_ASSETS}.sanitize_uri",
    "factory": f"{_ASSETS}.create_asset",
    "to_openlineage_converter": f"{_ASSETS}.convert_asset_to_openlineage",
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-mqs",
        "name": "Huawei Cloud ROMA Connect MQS",
        "description": "Query the messages of a window and resend them, once.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://support.huaweicloud.com/intl/en-us/roma/index.html",
                "tags": ["service"],
            }
        ],
        "hooks": _modules("hooks.mqs"),
        "operators": _modules("operators.mqs"),
        "sensors": _modules("sensors.mqs"),
        "triggers": _modules("triggers.mqs"),
        "connection-types": [
            {
                "connection-type": fields.CONNECTION_TYPE,
                "hook-class-name": "airflow_provider_mqs.hooks.mqs.MqsHook",
                "hook-name": fields.HOOK_NAME,
                "ui-field-behaviour": {
                    "hidden-fields": list(fields.HIDDEN_FIELDS),
                    "relabeling": dict(fields.RELABELING),
                    "placeholders": dict(fields.PLACEHOLDERS),
                },
                "conn-fields": {field.name: _conn_field(field) for field in fields.CONNECTION_FIELDS},
            }
        ],
        "queues": ["airflow_provider_mqs.queues.mqs.MqsMessageQueueProvider"],
        "asset-uris": [_ASSET_URIS],
        "dataset-uris": [_ASSET_URIS],  # the name that Airflow 2 knows
        "cli": ["airflow_provider_mqs.cli.airflow_commands.get_commands"],
        "config": {"mqs": {"description": "Huawei Cloud ROMA Connect MQS.", "options": _OPTIONS}},
    }


def _modules(name: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": [f"airflow_provider_mqs.{name}"]}]


def _conn_field(field: Field) -> dict[str, Any]:
    schema = {
        "type": [_JSON_TYPES[field.kind], "null"],
        "format": "password" if field.kind == "secret" else None,
        "items": {"type": "string"} if field.kind == "list" else None,
        "enum": list(field.choices) or None,
        "default": field.form_default,
        "minimum": field.minimum,
        "maximum": field.maximum,
    }
    present = {name: value for name, value in schema.items() if value is not None}
    return {"label": field.label, "description": field.description, "schema": present}
