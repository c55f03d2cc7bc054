"""
Finding the copies of messages in their topic, to prove what was sent and to resolve what is in doubt.

- ``source_messages``: what messages look like now, and whether they still exist
- ``copy_traits``: which traits a copy keeps: learned, never assumed
- ``copy_matching``: which rows are copies, of which messages: by counting, then by contents; what proves what
- ``executions``: what each execution sent, and when its copies can have been made
- ``evidence``: reads rows and contents, each once, within bounds
- ``copy_search``: proves and settles, waits and gives up; begin here
- ``last_offsets``: what was there before the first message is sent
"""
