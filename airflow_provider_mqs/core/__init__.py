"""
Everything that knows no Airflow, cut by subject. Each room may import those above it, never those below.

- ``values``: messages, time windows, asset URIs, and how arguments are read
- ``connection``: the fields of a connection, and the settings that they make
- ``client``: the protocol as flows without I/O, the two transports and drivers that run them, tokens
- ``offsets``: ranges, offsets by partition, the offsets document (``mqs.offsets/1``), the plan of a resend
- ``ledger``: what was sent, what is in doubt and who is sending, over all runs and tries
- ``query``: reading every row of a window, and finding the offsets that match
- ``verify``: finding the copies of messages, to prove what was sent
- ``watch``: when a window is complete, and what is new in a topic
- ``resend``: the replay: plan, claim, send, pace, verify, report
"""

from __future__ import annotations
