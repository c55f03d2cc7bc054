"""The operators of this provider, under the name that DAGs import."""

from __future__ import annotations

from airflow_provider_mqs.operators.query import QueryMessagesOperator
from airflow_provider_mqs.operators.resend import ResendMessagesOperator

__all__ = ["QueryMessagesOperator", "ResendMessagesOperator"]
