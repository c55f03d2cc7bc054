"""
A local MQS and IAM service on aiohttp and SQLite that behaves like the real one, faults included.

It serves what two API documents describe: "Querying Messages" of DMS for Kafka (GET …/messages) and "Retransmitting a
Message" of ROMA Connect (POST …/messages/action). It also serves the calls that a client needs around them: IAM's token
call, the project list, the instance and its topics. If the documents are silent or contradict each other, a switch
decides. On top it imitates what a real deployment adds: authentication with its locks, throttling, gateway errors, lost
and late responses, latency, clocks that differ, retention, producers that go on writing, and plainly wrong answers.

No live service was at hand when this was written. "Known" was seen in a vendor document, SDK or acceptance-tested
client; "inferred" is a guess with a reason, and the switch beside it makes the service answer the other way.

==================================================== ========== ================================================
what                                                 how sure   switch (behaviour, unless it says fault)
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
offset is a page number from 0                       known DMS  paging (documents say "position")
page size up to 50, 10 if the request has none       known      page_size_limit, default_limit
... a larger one is clamped, not refused             inferred   refuse_large_pages (400 DMS.10240042)
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
a resend answers the old partition and offset        known      -
consumer_key is echoed, and a header of the copy     known      echo_consumer_key (older deployments do not)
copy: same partition, next offset                    inferred   copy_partition
numbers in the response to a resend                  inferred   echo_numbers
copy: fresh time, same key and size, no message id   inferred   copy_timestamp, copy_same_key, copy_same_size,
                                                                copy_same_message_id, copy_same_tag
resend of an unknown or expired offset answers 400   inferred   absent_message
retention in hours, expired messages are not found   known      retention_hours of a topic
topic list: offset counts rows, any number of them   inferred   topic_paging, topic_page_limit
time of a row is in ms                               known      timestamp_unit
responses have the header Date                       inferred   date_header
throttling: 429 APIGW.0308, or 404 DMS.10240407      known      faults throttle_429, throttle_404
real limits, latency                                 unknown    a rule's rate, latency_s
how soon queries show an appended message            unknown    fault visible_after_s
==================================================== ========== ================================================

Modules, each of which uses only those above it:

- ``behaviour``: the switches of the table, and the check of values from outside
- ``errors``: every refusal, with status, number and sentence
- ``http``: requests, their routing and parameters, responses and error bodies, as plain values
- ``faults``: what goes wrong on purpose, when, and how often, and what changes in the midst
- ``identity``: the account, the ids, and the Airflow connection that carries them
- ``store``: topics, messages and the log of resends in SQLite
- ``state``: what the operations share: store, behaviour, faults, identity, clock
- ``iam``: tokens, signatures, and the check of both
- ``instances``: the instance and its topics
- ``lies``: what a fault makes a query answer instead of the truth
- ``query``: the message query, by window or by offset
- ``resend``: the resend and its log
- ``service``: all of it without a socket, one request in and one response out
- ``seeds``: messages of a test's window, and of the demo's day
- ``admin``: local routes that switch faults and behaviour, write messages and read the logs
- ``server``: the socket
- ``command``: the command ``emulator``

The emulator shares no code with the client that it tests.
"""
