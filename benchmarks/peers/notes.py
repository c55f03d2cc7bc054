"""What the code of the sensors says about the reasons; written by hand, for the versions that were run."""

from __future__ import annotations

NOTES = """\
Read in the code of these versions, where the tables do not show it.

- **A number of messages.** SQS hands out what it has, up to `max_messages`; Kafka's `apply_function` sees one message
  at a time. Neither can wait for three. `HttpSensor` can, in a `response_check`; whether no more can come is the
  author's to find out, and without a `response_check` any 200 is a success.
- **Consuming.** `SqsSensor` deletes what it has found before its event is stored and before a later task has used it
  (`delete_message_on_reception=False` only hides it for a while); `AwaitMessageSensor` commits its message
  (`commit_offset=False` leaves that to a later task), and other groups still read it. Where a task is to *take*
  messages, theirs is the right way, and ours cannot do it. Where it is to know whether an hour is complete, a second
  run finds nothing.
- **An hour of yesterday.** Neither a queue nor a consumer group can be asked for it: what comes counts, whenever it
  was written. `HttpSensor` can, by templates in `request_params`.
- **Errors.** The clients below `SqsSensor` (5 tries) and below ours (6 tries) repeat requests by themselves; that
  bears a hiccup, and lets them end later than their timeout. An outage that is longer fails `SqsSensor` and, in the
  worker, `HttpSensor` with the first error, which is left to the task's retries. `silent_fail` of Airflow's base
  sensor tolerates every error in the worker, also 403; `HttpSensor` can name status codes instead
  (`response_error_codes_allowlist`). No trigger of theirs gets either. Kafka's client reconnects for ever, so its
  sensor bears every outage, and ends at the timeout: nothing to improve.
- **403 once deferred.** The trigger of `HttpSensor` sleeps after a 404 only. After an error that its hook does not
  repeat by itself (5xx are, three times, a second apart) it asks again at once: a token that expires while it waits
  makes it ask without a pause until the timeout, which is seven days by default. Here it had 4 s.
- **Failing for good.** Wrong credentials and unknown topics fail everybody who was tried at once. Only ours says to
  Airflow that a retry cannot help; with `retries=5` the others try five times more.
- **Timeouts** are heeded by all when deferred. `never_fail` does not make a skip of a timeout where Airflow's base
  sensor waits in the worker; ours sees to that.
- **Contents.** `SqsSensor` and `AwaitMessageSensor` hand bodies on, which is handy while they are small; they lie in
  Airflow's database, in the event and in XCom. `HttpSensor` pushes nothing unless its `response_check` returns a
  `PokeReturnValue`; its headers, a token among them, are arguments of its trigger, which Airflow stores encrypted.
- **Seconds of Kafka.** The sensor reads once its group has formed, which takes three seconds, here as at a real
  broker with its defaults; its timeouts were 4 s longer than those of the others. Where a second consumer of the same
  group is needed (run again, restart), `group.protocol` is `consumer`, Kafka's newer one: the mock cluster lets
  nobody into a group of the older kind whose last member has left."""
