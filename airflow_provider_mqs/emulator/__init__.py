"""
A local MQS and IAM service on aiohttp and SQLite that behaves like the real one, faults included.

No live service was at hand when this was written. "Known" was seen in a vendor document, SDK or acceptance-tested
client; "inferred" is a guess with a reason, and the switch beside it makes the service answer the other way.

==================================================== ========== ================================================
what                                                 how sure   switch (behaviour)
==================================================== ========== ================================================
IAM token: call, 201, X-Subject-Token, expires_at    known      token_lifetime_s, token_bytes
401 bodies of IAM in its nested form                 known      iam_error_form
password lock (IAM.0061) after 5 wrong ones          known      -
SDK-HMAC-SHA256, 15 min skew, lock for 5 minutes     known      -
... the lock comes with the 5th bad signature        inferred   -
error numbers and statuses                           known      integer_error_codes, error_form
prefixes MQS/DMS and APIGW/APIG                      known      code_prefix, gateway_prefix (both are in use)
path with /mqs/ on ROMA, without on DMS              known      styles
... the other one answers 404 APIGW.0101             inferred   styles
a prefix before every path                           inferred   path_prefix
offset is a 0-based page number                      known DMS  paging (documents say "position")
page size up to 50, 10 when not asked for            known      page_size_limit, default_limit
... more is clamped, not refused                     inferred   refuse_large_pages (400 DMS.10240042)
... any number of rows may be skipped                inferred   max_skip (400 DMS.10240043)
at most 500 messages of all partitions               known DMS  cap
... total still counts all of them                   inferred   cap_hides_total
both ends of the window are inclusive                inferred   end_inclusive
partition narrows a window query                     inferred   partition_narrows
rows are unsorted (by partition) unless asc=true     inferred   default_asc
rows of a window query have no content               known      window_value
a message is read by partition and message_offset    known      content_by_offset
value is cut at 4 KB unless download=true            known DMS  truncate_bytes
download=true answers JSON                           inferred   download_form
total and size are floats                            known SDK  float_totals
key can be absent                                    known      omit_missing_keys
message_offset is named offset in searches           known DMS  offset_field, search_offset_field
a resend answers the old coordinates                 known      -
consumer_key is echoed, and a header of the copy     known      echo_consumer_key (older deployments do not)
copy: same partition, next offset                    inferred   -
copy: fresh time, same key and size, no message id   inferred   copy_timestamp, copy_same_key, copy_same_size,
                                                                copy_same_message_id
resend of an unknown or aged offset answers 400      inferred   absent_message
retention in hours, aged messages are not found      known      retention_hours of a topic
topic list: offset counts rows                       inferred   -
throttling: 429 APIGW.0308, or 404 DMS.10240407      known      faults throttle_429, throttle_404
real limits, latency                                 unknown    faults, latency_s
how soon queries show an appended message            unknown    faults, visible_after_s
==================================================== ========== ================================================

The rooms, bottom up: ``wire`` (values), ``behaviour``/``rules``/``faults``/``identity`` (switches), ``errors`` (one
table), ``records``/``store`` (SQLite), ``state``, ``call`` (routing), ``signing``, ``iam``, ``validation``, ``query``,
``resend``, ``catalogue`` (operations), ``service`` (all of it without a socket), ``seeds``, ``admin``, ``server`` (the
socket), ``connection`` (how to reach it), ``command``.
The emulator shares no code with the client that it tests.
"""

from __future__ import annotations
