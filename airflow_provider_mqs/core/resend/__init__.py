"""
Resends: the messages of a plan are sent again, each once, and reported.

* ``replay``: one replay from beginning to end, in its phases.
* ``options``: how it is asked for, and what the connection allows of it.
* ``sender``: posts messages in order, and judges what the answers mean.
* ``claims``: hands out messages, none before the ledger says that it is claimed.
* ``in_doubt``: resolves messages that may or may not have been sent.
* ``verifier``: gathers what is known, and has the copies looked for.
* ``pacing``: rate limit, throttling, circuit breaker, progress.
* ``report``: the report as XCom.
* ``airflow_thread``: the thread that talks to Airflow meanwhile.
* ``signals``: SIGTERM and timeouts stop the work in order.
"""

from __future__ import annotations
