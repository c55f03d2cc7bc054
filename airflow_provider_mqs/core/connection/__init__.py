"""
What an ``mqs`` connection says, checked and typed.

- ``endpoints``: addresses: how they may be written, and what a host name reveals about region and login
- ``field_types``: what a field of the connection is, and how its raw value is read
- ``fields``: the table of all fields of ``extra``; a new field starts here
- ``settings``: ``ConnectionSettings``: the fields with all rules and defaults applied
"""
