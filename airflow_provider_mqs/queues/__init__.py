"""MQS as a message queue of Airflow's ``MessageQueueTrigger``."""

from __future__ import annotations
