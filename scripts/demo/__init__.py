"""
`make demo`: a real Airflow back-fills three hours of a topic against the local service, and the outcome is checked.

`__main__` tells the story; `processes` starts and stops programs, `airflow` configures and asks Airflow, `running`
starts it, `service` knows the local MQS service, `progress` prints. Everything that is written goes below `.data/demo`,
and everything that listens listens on 127.0.0.1. Other scripts and the tests use the parts of it.
"""

from __future__ import annotations
