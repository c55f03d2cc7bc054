"""``SqsSensor`` of the Amazon provider, on moto's SQS: a real socket, and faults in front of it."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from benchmarks.peers.cases import BODY, SECRET
from benchmarks.peers.peer import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from typing_extensions import Self

    from benchmarks.peers.cases import Case
    from benchmarks.peers.task import Ending

_CONTROL = "control-of-the-observation"
_REFUSED = {500: "InternalFailure", 403: "InvalidClientTokenId"}


class Front:
    """Counts requests, and answers instead of the service while a fault lasts; a WSGI application."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.status = 200
        self.times: list[float] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request."""
        if _CONTROL not in environ.get("HTTP_USER_AGENT", ""):
            self.times.append(time.time())
            if self.status in _REFUSED:
                return self._refuse(environ, start)
        answer: Iterable[bytes] = self._application(environ, start)
        return answer

    def _refuse(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        name = _REFUSED[self.status]
        body = json.dumps({"__type": f"com.amazonaws.sqs#{name}", "message": name}).encode()
        headers = [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(body)))]
        start(f"{self.status} {name}", [*headers, ("x-amzn-ErrorType", name)])
        return [body]


class Sqs(Peer):
    """The sensor; each case has a queue of its own."""

    name = "SqsSensor"
    package = "apache-airflow-providers-amazon"
    service = "moto's SQS, a server on 127.0.0.1"
    not_run = {"login": "moto checks no credentials; what the service answers to wrong ones is 403, see there"}  # noqa: RUF012 - not changed

    def __enter__(self) -> Self:
        import boto3
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._front = Front(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self._front, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        url = f"http://127.0.0.1:{self._server.server_port}"
        extra = {"endpoint_url": url, "region_name": "us-east-1"}
        document = {"conn_type": "aws", "login": "AKIAIOSFODNN7EXAMPLE", "password": SECRET, "extra": extra}
        self.set_connection("AWS_DEFAULT", document)
        self.set_connection("OTHER", document)
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        config = boto3.session.Config(user_agent_extra=_CONTROL)
        known = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        self._client = boto3.client("sqs", endpoint_url=url, config=config, **known)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def begin(self, case: Case) -> None:
        """Make a queue."""
        del case
        self._front.status = 200
        self._front.times.clear()
        self._queue = self._client.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]

    def put(self, case: Case, count: int, moment: datetime | None = None) -> None:
        """Send messages; their time is now, and nobody can choose it."""
        del case, moment
        for _ in range(count):
            self._client.send_message(QueueUrl=self._queue, MessageBody=BODY)

    def fail(self, status: int) -> None:
        """Answer with this status from now on."""
        self._front.status = status

    def left(self) -> dict[str, int]:
        """Count messages of the queue, those included that are only hidden."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self._client.get_queue_attributes(QueueUrl=self._queue, AttributeNames=list(names))["Attributes"]
        return {"messages": sum(int(found[name]) for name in names)}

    def times(self) -> list[float]:
        """Give when each request came."""
        return list(self._front.times)

    def seen(self, ending: Ending) -> int | None:
        """Count the messages that were pushed."""
        return len(ending.xcom.get("messages", []))

    def sensor(self, case: Case, mode: str, **arguments: Any) -> Any:
        """Make it."""
        from airflow.providers.amazon.aws.sensors.sqs import SqsSensor

        queue = self._queue + "-unknown" if case.name == "unknown" else self._queue
        poll_policy = {} if case.patient else {"botocore_config": {"retries": {"max_attempts": 0}}}
        return SqsSensor(
            sqs_queue=queue,
            max_messages=10,
            deferrable=mode == "deferred",
            **poll_policy,
            **self.common(mode, case, arguments),
        )

    def changed(self) -> dict[str, Any]:
        """Give each argument another value."""
        return {
            "sqs_queue": "other",
            "max_messages": 7,
            "num_batches": 2,
            "wait_time_seconds": 7,
            "visibility_timeout": 7,
            "message_filtering": "jsonpath",
            "message_filtering_match_values": ["a"],
            "message_filtering_config": "a",
            "delete_message_on_reception": False,
            "aws_conn_id": "other",
            "region_name": "eu-west-1",
            "verify": False,
            "botocore_config": {"read_timeout": 7},
        }

    def deferral(self, **arguments: Any) -> Any:
        """Make one that defers."""
        from airflow.providers.amazon.aws.sensors.sqs import SqsSensor

        return SqsSensor(task_id="wait", deferrable=True, **{"sqs_queue": self._queue, **arguments})
