"""What the code of the sensors says about the reasons; written by hand, for the versions that were run."""

from __future__ import annotations

NOTES = (
    "- **A number of messages.** SQS hands out what it has, up to `max_messages`; Kafka's `apply_function` sees one "
    "message at a time. Neither can wait for three. `HttpSensor` can, in a `response_check`; whether no more can come is "
    "the author's to find out.",
    "- **Consuming.** `SqsSensor` deletes what it has found before its event is stored and before a later task has used "
    "it (`delete_message_on_reception=False` only hides it for a while); `AwaitMessageSensor` commits its message "
    "(`commit_offset=False` leaves that to a later task). Where a task is to *take* messages from a queue, that is right, "
    "and ours cannot do it. Where it is to know whether an hour is complete, a second run finds nothing.",
    "- **The triggerer dies.** What it had found and not stored is gone for those that consume: for SQS all messages of "
    "the call, for Kafka the one that was committed. The other two only read.",
    "- **An hour of yesterday.** Neither a queue nor a consumer group can be asked for it. `HttpSensor` can, by templates "
    "in `request_params`, as far as the service keeps messages.",
    "- **Errors.** SQS's client repeats requests by itself (5 tries), ours, too (6 tries); that bears a hiccup, and can "
    "make a sensor end some seconds after its timeout. Beyond that, `SqsSensor` and `HttpSensor` fail the task with the "
    "first error, and leave it to retries: for SQS in every mode, for `HttpSensor` only in the worker. `silent_fail` of "
    "Airflow's base sensor tolerates any error, also 403, until the timeout; it does not reach the triggers of others. "
    "`HttpSensor` can name status codes that it tolerates (`response_error_codes_allowlist`), which its trigger does not "
    "get, either. Kafka's client reconnects for ever, and its sensor waits until the timeout, in peace.",
    "- **403 in the triggerer.** The trigger of `HttpSensor` sleeps only after a 404. After any other error that its hook "
    "does not repeat by itself it asks again at once: a token that expires while it waits makes it ask without a pause "
    "until the timeout, seven days by default.",
    "- **Timeouts** are heeded by all four when deferred. `never_fail` does not turn a timeout into a skip where Airflow's "
    "base sensor waits itself; ours does so in every mode.",
    "- **Contents.** Bodies that `SqsSensor` and `AwaitMessageSensor` push lie in Airflow's database, in the event and in "
    "XCom; that is convenient for small messages. `HttpSensor` pushes nothing unless its `response_check` returns a "
    "`PokeReturnValue`; its headers, a token among them, are arguments of its trigger (which Airflow encrypts).",
)
