"""
Sets of offsets, and the documents that carry them.

* ``accumulator``: collects offsets as they arrive, eight bytes each, and merges them into ranges in time.
* ``document``: the offsets of a window as XCom (``mqs.offsets/1``).
* ``offset_ranges``: the offsets of one partition as inclusive ranges, and their JSON and packed forms.
* ``partition_offsets``: the same by partition, with set operations.
* ``plan``: what a resend is asked to send, from every shape that XComs and people use.
"""
