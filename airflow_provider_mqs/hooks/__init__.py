"""
From an Airflow connection to a client.

- ``client_pool``: one client for all triggers of an event loop that use the same connection
- ``connection``: an Airflow connection as ``ConnectionSettings``, with its secrets masked
- ``connection_check``: what is wrong with a connection, step by step
- ``connection_form``: the connection form for Airflow before 3.2
- ``mqs``: ``MqsHook``
"""
