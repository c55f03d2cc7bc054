"""
MQS as a message queue of Airflow's ``MessageQueueTrigger``.

- ``mqs``: the provider of the scheme ``mqs``; needs the extra ``messaging``
"""
