"""Apache Airflow provider for Huawei Cloud ROMA Connect MQS. Importing this package imports none of its modules."""

from __future__ import annotations

__version__ = "0.1.0"
