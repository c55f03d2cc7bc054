"""
Send the messages of any window again, by hand.

Trigger it and fill in the form. A run only shows what it would send, until "Dry run" is switched off. A copy is
appended to the same topic: every consumer of the topic receives it, or, with a consumer key, those that honour that
header.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_mqs.operators.mqs import QueryMessagesOperator, ResendMessagesOperator

with DAG(
    dag_id="mqs_adhoc_replay",
    schedule=None,
    start_date=pendulum.datetime(2020, 1, 1, tz="UTC"),  # a run for a moment before it would run no task
    doc_md=__doc__,
    tags=["mqs"],
    params={
        "topic": Param("orders", type="string", title="Topic", section="What"),
        "start": Param(
            "2026-01-01T00:00:00+00:00", type="string", format="date-time", title="From (included)", section="What"
        ),
        "end": Param(
            "2026-01-01T01:00:00+00:00", type="string", format="date-time", title="To (not included)", section="What"
        ),
        "key": Param(None, type=["null", "string"], title="Only this message key", section="What"),
        "dry_run": Param(True, type="boolean", title="Dry run: send nothing", section="How"),
        "consumer_key": Param(None, type=["null", "string"], title="Consumer key", section="How"),
        "max_messages": Param(1000, type="integer", minimum=1, title="Refuse more messages than", section="How"),
        "max_rate": Param(50, type=["null", "number"], exclusiveMinimum=0, title="Messages a second", section="How"),
        "on_empty": Param("skip", enum=["succeed", "skip", "fail"], title="If there are none", section="If"),
        "on_incomplete": Param("fail", enum=["fail", "warn"], title="If some cannot be read", section="If"),
        "on_failure": Param("stop", enum=["stop", "continue"], title="If one cannot be sent", section="If"),
    },
):
    query = QueryMessagesOperator(
        task_id="query",
        topic="{{ params.topic }}",
        start="{{ params.start }}",
        end="{{ params.end }}",
        key="{{ params.key or '' }}",
        max_messages="{{ params.max_messages }}",
        on_empty="{{ params.on_empty }}",
        on_incomplete="{{ params.on_incomplete }}",
    )
    ResendMessagesOperator(
        task_id="resend",
        messages=query.output,
        dry_run="{{ params.dry_run }}",
        consumer_key="{{ params.consumer_key or '' }}",
        max_messages="{{ params.max_messages }}",
        max_rate="{{ params.max_rate or '' }}",
        on_failure="{{ params.on_failure }}",
    )
