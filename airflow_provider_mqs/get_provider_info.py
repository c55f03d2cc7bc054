"""What Airflow's provider discovery reads; imports no Airflow."""

from __future__ import annotations

from typing import Any

from airflow_provider_mqs import __version__


def get_provider_info() -> dict[str, Any]:
    """
    Describe this provider to Airflow.

    :return: the provider's metadata, in the shape of ``provider_info.schema.json``
    """
    return {
        "package-name": "airflow-provider-mqs",
        "name": "Huawei Cloud ROMA Connect MQS",
        "description": "Query the messages of a window and resend them, once.",
        "versions": [__version__],
    }
