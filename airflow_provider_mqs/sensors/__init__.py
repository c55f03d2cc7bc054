"""
Sensors. They resolve the window, poll, and tell Airflow what was decided; they know nothing of HTTP.

- ``mqs``: ``MessagesInWindowSensor``
"""
