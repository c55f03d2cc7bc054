"""
Every field of an ``mqs`` connection, once: form, metadata and settings are made from this table.

A new field needs a declaration here and the code that uses ``settings.<its name>``. Standard library only, since
provider discovery imports it in every process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from airflow_provider_mqs.core.connection.field_types import extra, fields_of

AuthType = Literal["password", "access_key", "token"]
ApiStyle = Literal["auto", "dms", "mqs"]
Paging = Literal["auto", "page", "row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFields:
    """The fields of the connection's ``extra``, in the order of the form."""

    auth_type: AuthType = extra(
        "Authentication",
        "password: log in as an IAM user. access_key: sign each request with an access key. token: send an IAM token "
        "that you supply. Default: password.",
        default="password",
        choices=get_args(AuthType),
    )
    project_id: str | None = extra(
        "Project ID",
        "For example 0123456789abcdef0123456789abcdef. With auth_type password you may leave it empty if the region is "
        "known: the region's own project is used.",
    )
    instance_id: str | None = extra(
        "MQS instance ID",
        "Default instance, for example 640bb069-151e-4d5e-bd1b-000000000000. Operators may name another one.",
    )
    region: str | None = extra(
        "Region",
        "For example cn-north-4. If empty, it is read from a host like roma.cn-north-4.myhuaweicloud.com.",
    )
    iam_endpoint: str | None = extra(
        "IAM endpoint",
        "Where to log in with user name and password, for example https://iam.cn-north-4.myhuaweicloud.com, which is "
        "the default for that region. Required on private clouds.",
    )
    domain_name: str | None = extra(
        "Account name",
        "Account (IAM domain) of the IAM user. Required with auth_type password.",
    )
    auth_token: str = extra(
        "Token",
        "The IAM token to send as X-Auth-Token. Required with auth_type token.",
        kind="secret",
        default="",
    )
    security_token: str = extra(
        "Security token",
        "Security token of temporary access keys (auth_type access_key).",
        kind="secret",
        default="",
    )
    api_style: ApiStyle = extra(
        "API style",
        "Path of the message query. mqs: as in ROMA Connect. dms: as in Distributed Message Service. auto: mqs on "
        "hosts named roma.*, else whichever the gateway knows. Default: auto.",
        default="auto",
        choices=get_args(ApiStyle),
    )
    query_endpoint: str | None = extra(
        "Query endpoint",
        "Only if queries go to another host, for example https://dms.cn-north-4.myhuaweicloud.com. That host receives "
        "the token too.",
    )
    paging: Paging = extra(
        "Paging",
        "What the service means by offset. page: a page number. row: a row number. auto: detect it. Default: auto.",
        default="auto",
        choices=get_args(Paging),
    )
    page_size: int = extra(
        "Page size",
        "Rows per request, 1 to 50. Default: 50.",
        kind="int",
        default=50,
        minimum=1,
        maximum=50,
    )
    connect_timeout: float = extra(
        "Connect timeout (seconds)",
        "How long to wait for a connection. Default: 10.",
        kind="float",
        default=10.0,
        minimum=0.1,
        maximum=600,
    )
    read_timeout: float = extra(
        "Read timeout (seconds)",
        "How long to wait for a response. Default: 60.",
        kind="float",
        default=60.0,
        minimum=0.1,
        maximum=3600,
    )
    max_retries: int = extra(
        "Retries",
        "How often to repeat a failed request, if that is safe; a throttled resend has no limit. Default: 5.",
        kind="int",
        default=5,
        minimum=0,
        maximum=100,
    )
    verify_tls: bool = extra(
        "Verify TLS certificate",
        "Switch off only for a test system. For a private CA, enter its file as CA bundle instead. Default: on.",
        kind="bool",
        default=True,
    )
    ca_bundle: str | None = extra(
        "CA bundle",
        "File with the certificates to trust (PEM), for example /etc/ssl/private-cloud-ca.pem.",
        is_path=True,
    )
    client_cert: str | None = extra(
        "Client certificate",
        "File with the client certificate and its key (PEM), for example /etc/ssl/airflow-client.pem.",
        is_path=True,
    )
    proxy: str | None = extra(
        "Proxy",
        "HTTP proxy for all requests, for example http://user:secret@proxy.example.com:3128.",
        kind="secret",
    )
    allow_http: bool = extra(
        "Allow http",
        "Accept http:// addresses of other machines. Tokens then travel unencrypted. Default: off.",
        kind="bool",
        default=False,
    )
    allow_resend: bool = extra(
        "Allow resend",
        "Switch off to make this connection read-only. Default: on.",
        kind="bool",
        default=True,
    )
    resend_topics: tuple[str, ...] = extra(
        "Topics that may be resent",
        "Names or patterns, for example orders, audit-*. Empty: every topic.",
        kind="list",
        default=(),
    )
    max_resend_messages: int | None = extra(
        "Maximum messages per resend",
        "A plan with more messages is refused, for example 100000. Empty: no limit.",
        kind="int",
        minimum=1,
    )
    require_consumer_key: bool = extra(
        "Require a consumer key",
        "Refuse resends that would reach every consumer of a topic. Default: off.",
        kind="bool",
        default=False,
    )
    max_rate: float | None = extra(
        "Maximum messages per second",
        "Upper limit of every resend, for example 50. Empty: no limit.",
        kind="float",
        minimum=0.001,
    )


CONNECTION_FIELDS: Final = fields_of(ConnectionFields)
FIELDS_BY_NAME: Final = {field.name: field for field in CONNECTION_FIELDS}

CONNECTION_TYPE: Final = "mqs"
HOOK_NAME: Final = "Huawei Cloud ROMA Connect MQS"
# ``port`` stays visible: Airflow 3.3.2 cannot test a connection whose port is empty (apache/airflow#73298)
HIDDEN_FIELDS: Final = ("schema",)
RELABELING: Final = {
    "host": "MQS endpoint",
    "login": "IAM user name or access key ID",
    "password": "IAM password or secret access key",
}
PLACEHOLDERS: Final = {
    "host": "https://roma.cn-north-4.myhuaweicloud.com",
    "port": "443",
    "login": "airflow-replay",
}
