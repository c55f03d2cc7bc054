"""
Finding the copies of messages in their topic, to prove what was sent and to resolve what is in doubt.

- ``source_messages``: what the messages of a plan look like now, and whether they still exist
- ``copy_traits``: which traits a copy keeps: learned, never assumed
- ``copy_matching``: which candidates are copies, and so which messages were sent: by counting, then by contents
- ``copy_search``: reads the candidates and repeats the search until it is decided; begin here
"""
