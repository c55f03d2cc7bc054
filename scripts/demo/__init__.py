"""
`make demo`: a real Airflow backfills three hours of a topic against the local service, and the result is checked.

`__main__` is the demo; `processes` starts and stops programs, `airflow` holds Airflow's settings and its REST API,
`running` starts Airflow, `service` knows the local MQS service, `progress` prints. The demo writes only below
`.data/demo`, and its programs listen only on 127.0.0.1. Other scripts and the tests use these modules, too.
"""
