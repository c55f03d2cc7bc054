"""
What sensors of others do on the same outcomes as ``MessagesInWindowSensor``, observed by running them: ``make peers``.

Only what is run needs the packages of the others; the table is made of what was observed, with the standard library.
"""
