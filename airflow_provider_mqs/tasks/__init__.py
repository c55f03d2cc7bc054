"""
What runs inside a task or a command.

- ``dag_run``: what Airflow's context says about a run: the events that started it, and the time window it is about
- ``filtered``: the filter arguments that operators and sensors share
- ``query_job``: a query, from checked arguments to offsets
- ``resend_job``: a replay, from checked arguments to the report
- ``stores``: where Airflow keeps ledgers and the replay record, and which of them a caller uses
- ``verify_job``: the search for the copies of many replays, from checked arguments to the result
"""
