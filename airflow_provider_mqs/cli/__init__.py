"""The commands of ``python -m airflow_provider_mqs``: they talk to a person, and leave the thinking to other rooms."""

from __future__ import annotations
