"""MQS topics as assets of Airflow."""

from __future__ import annotations
