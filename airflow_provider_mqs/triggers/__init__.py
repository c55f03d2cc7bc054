"""
Triggers. They wait in the triggerer, and only ever read: a resend belongs on a worker.

- ``mqs``: ``MessagesInWindowTrigger``, the wait of a deferred sensor, and ``NewMessagesTrigger``, which watches a topic
- ``topic_watcher``: one poll of a watched topic, and where its cursor is kept
- ``shared_reading``: one reading of a topic for all of its watchers

A triggerer imports ``mqs`` in its event loop, and a DAG file imports it for an ``AssetWatcher``, so it loads no client.
The other modules do, and the first poll imports them in a thread.
"""
