"""
Reading a time window whole, and saying why it may not be.

* ``filters``: which messages count; the one reader of the filter arguments.
* ``query``: what a query is asked for, the flow that answers it, and what is made of the answer.
* ``saturated_millisecond``: a millisecond with more rows than the service shows.
* ``slices``: parts of a window, and how the pages of one are read.
* ``window_reader``: every row of a window; how completeness is shown.
"""
