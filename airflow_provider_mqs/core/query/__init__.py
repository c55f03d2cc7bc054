"""
Read every message of a time window, or say why some may be missing.

* ``filters``: which messages count, and how the filter arguments are read.
* ``query``: a query from its arguments to checked offsets.
* ``saturated_millisecond``: a millisecond with more rows than the service shows.
* ``slices``: parts of a window, and how the pages of one are read.
* ``window_reader``: every row of a window, and how it is known that none is missing.
"""
