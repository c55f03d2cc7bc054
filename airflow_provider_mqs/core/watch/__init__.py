"""
Waiting for a window, and watching a topic; both only read.

- ``condition``: what a window must hold, when it is final, and when the wait for it is over
- ``window_count``: count the messages of a window, with one request if that is enough
- ``watch_options``: what a topic is watched for
- ``cursor``: how far a topic was watched, and which messages are new since then
- ``new_messages``: read a topic from a cursor on, and make the document of an event from what is new
"""
