"""The operators of this provider, under the name that DAGs import."""

from __future__ import annotations

from airflow_provider_mqs.operators.query import QueryMessagesOperator
from airflow_provider_mqs.operators.resend import ResendMessagesOperator
from airflow_provider_mqs.operators.verify import VerifyReplayOperator

__all__ = ["QueryMessagesOperator", "ResendMessagesOperator", "VerifyReplayOperator"]
