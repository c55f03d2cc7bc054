"""Everything that knows no Airflow, cut by subject: querying, resending and verifying the messages of a topic."""

from __future__ import annotations
