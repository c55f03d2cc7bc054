"""
Sensors. They resolve the window, poll, and pass the decision on to Airflow; they know nothing of HTTP.

- ``mqs``: ``MessagesInWindowSensor``
"""
