"""
The bulk engine: read every offset of a window, send messages again. Knows the client, not Airflow.

::

    reader.py      flow: every row of a window, through caps, moving totals and refused ranges
    saturated.py   flow: a millisecond that holds more rows than the service shows
    bag.py         offsets, packed
    filters.py     which rows count
    query.py       the reader on the asynchronous client -> Offsets
    resend.py      one POST a message, in order, at a rate
"""

from __future__ import annotations
