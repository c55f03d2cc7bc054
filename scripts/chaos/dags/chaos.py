"""One DAG for each combination of ledger, ordering and care; the plan of a replay comes from a query, as for users."""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import product
from typing import Any

from airflow.sdk import DAG

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator

FOLDER = os.environ["CHAOS_LEDGERS"]
VERIFY: dict[str, dict[str, Any]] = {
    "verified": {"verify": True},
    "unverified": {"verify": False},
    "blind": {"on_unknown": "resend"},
}

for store, ordering, care in product(("state_store", "file"), ("partition", "none"), VERIFY):
    with DAG(f"chaos_{store}_{ordering}_{care}", schedule=None):
        query = QueryMessagesOperator(
            task_id="query",
            topic="{{ dag_run.conf['topic'] }}",
            start="{{ dag_run.conf['start'] }}",
            end="{{ dag_run.conf['end'] }}",
        )
        ResendMessagesOperator(
            task_id="resend",
            messages=query.output,
            ordering=ordering,
            ledger_path=FOLDER if store == "file" else None,
            verify_wait=1.5,
            retries=1000,
            retry_delay=timedelta(0),
            **VERIFY[care],
        )
