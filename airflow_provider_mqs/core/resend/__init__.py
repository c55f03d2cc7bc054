"""
A resend: the messages of a plan are sent again, each once, and reported. Begin with the phases in ``replay``.

- ``replay``: one replay from beginning to end
- ``options``: how a resend is asked for, and what the connection allows of it
- ``sender``: posts messages in order, and decides what each answer means
- ``claims``: hands out messages, none before its claim is written into the ledger
- ``in_doubt``: resolves messages that may or may not have been sent
- ``verifier``: gathers what is known, and has the copies looked for
- ``pacing``: rate limit, throttling, circuit breaker, progress
- ``report``: the report as XCom (``mqs.replay/1``)
- ``airflow_thread``: the thread that talks to Airflow meanwhile
- ``signals``: SIGTERM and timeouts stop the work in order
"""

from __future__ import annotations
