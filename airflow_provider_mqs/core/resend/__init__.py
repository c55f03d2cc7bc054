"""
A resend: the messages of a plan are sent again, each once, and reported. Begin with the phases in ``replay``.

- ``replay``: one replay from beginning to end
- ``options``: the arguments of a resend, and what the connection allows of it
- ``sender``: posts messages in order, and decides what each answer means
- ``claims``: hands out messages, none before its claim is written into the ledger
- ``verifier``: resolves messages in doubt, and checks that each message has its copy
- ``pacing``: rate limit, throttling, circuit breaker
- ``report``: progress, and the report as XCom (``mqs.replay/1``)
- ``post_times``: when each message was posted
- ``airflow_thread``: threads for stores and brake, which may block
- ``stopping``: how each phase ends when the task must end
- ``signals``: SIGTERM and timeouts stop the work in order
"""
