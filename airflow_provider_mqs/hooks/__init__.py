"""Where an Airflow connection becomes a client. Knows nothing of operators."""

from __future__ import annotations
