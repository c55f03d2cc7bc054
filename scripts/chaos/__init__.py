"""
`make chaos`: kill replays again and again, and count in the service's own log how often each message was sent.

`__main__` runs the replays and prints the table, `tasks` runs and kills tasks as an executor would, `service` is the
local MQS service, `dags/chaos.py` has a DAG for each row of the table.
"""
