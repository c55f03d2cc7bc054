"""The protocol: requests, retries, authentication, paging. Knows HTTP and MQS, not Airflow."""

from __future__ import annotations
