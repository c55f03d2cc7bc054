"""
What runs inside a task or a command.

- ``window``: which time window a run is about
- ``events``: the asset events that started a run, the offsets that they carry, and whether the topic itself raised one
- ``filtered``: the filter arguments that operators and sensors share
- ``query_job``: a query, from checked arguments to offsets
- ``resend_job``: a replay, from checked arguments to the report
- ``stores``: where Airflow keeps ledgers and the replay record, and which of them a caller uses
- ``permanent_errors``: which errors Airflow must not retry
"""

from __future__ import annotations
