"""
Small values that everything else uses.

* ``arguments``: checks of single arguments, as people and templates write them.
* ``message``: messages, rows, pages and topics, read defensively from answers.
* ``text``: wording that logs and errors share.
* ``time_window``: half-open windows in epoch milliseconds, and how times and durations are read.
* ``topic_ref``: endpoint, instance and name of a topic, and its URI among Airflow's assets.
"""
