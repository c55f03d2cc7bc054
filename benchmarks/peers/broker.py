"""
A Kafka broker for one observation: the mock cluster that librdkafka brings along, in a process that can be stopped.

It speaks Kafka's protocol on a real socket (topics, fetch, groups, commits), but knows no login.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Serve until standard input ends with the parent; the address is printed."""
    from confluent_kafka import Producer

    cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 2})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
