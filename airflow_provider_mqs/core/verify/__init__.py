"""
Finding the copies of messages in their topic, to prove what was sent and to resolve what is in doubt.

- ``source_messages``: what messages look like now, and whether they still exist
- ``copy_traits``: which traits a copy keeps: learned, never assumed
- ``copy_matching``: which rows are copies, of which messages: by counting, then by contents; what proves what
- ``executions``: what each execution sent, and when its copies can have been made
- ``evidence``: reads rows and contents, each once, within bounds
- ``search``: one look at a topic: which rows may be copies of some executions, and what follows from them
- ``prove``: whether each message that was sent has its copy; waits and gives up; begin here
- ``settle``: which messages in doubt were sent
- ``last_offsets``: what was there before the first message is sent
"""
