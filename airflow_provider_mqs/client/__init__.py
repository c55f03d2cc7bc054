"""
The protocol: what to ask, when to ask again, what an answer means. Knows HTTP and MQS, not Airflow.

Everything that decides is a *flow*: a generator that yields steps (``Request``, ``Sleep``, ``Wait``, ``Parallel``), is
sent what came of them, and returns its result (``flow.py``). Flows do no I/O, so they are tested without a socket and
run on either wire: ``drive`` performs the steps with ``requests``, ``adrive`` with ``aiohttp``.

::

    api.py        one flow per API call              paging.py     what ``offset`` means here
    auth.py       token, access key                  signing.py    SDK-HMAC-SHA256
    retry.py      what may be repeated, and when     errors.py     answers -> exceptions
    flow.py       the steps and the two drivers      client.py     MqsClient, AsyncMqsClient
    tls.py        certificates                       proxy.py      which proxy
    wire_requests.py, wire_aiohttp.py                the only two files that touch a socket
    shared_wires.py                                  one wire for all sensors of a triggerer
"""

from __future__ import annotations
