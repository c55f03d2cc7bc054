"""
MQS topics as assets of Airflow.

- ``mqs``: make the asset of a topic, check its URI, and name it for OpenLineage
"""
