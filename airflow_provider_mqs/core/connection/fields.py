"""
Every field of an ``mqs`` connection, once: the form, the metadata and the settings come from this table.

Standard library only and cheap to import, because Airflow's provider discovery reads it in every process.
It must not know how the values are used.
"""

from __future__ import annotations

from typing import Final

from airflow_provider_mqs.core.connection.field_types import Field

CONNECTION_FIELDS: Final[tuple[Field, ...]] = (
    Field(
        "auth_type",
        "Authentication",
        "password: IAM user and password. access_key: access key id and secret access key, to sign "
        "each request. token: an IAM token that you bring. Default: password.",
        default="password",
        choices=("password", "access_key", "token"),
    ),
    Field(
        "project_id",
        "Project ID",
        "For example 0123456789abcdef0123456789abcdef. With auth_type password it may be left out "
        "where the region is known: the project of that region is used.",
    ),
    Field(
        "instance_id",
        "MQS instance ID",
        "Default instance, for example 640bb069-151e-4d5e-bd1b-000000000000. Operators may name another one.",
    ),
    Field(
        "region",
        "Region",
        "For example cn-north-4. Left out, it is taken from a host like roma.cn-north-4.myhuaweicloud.com.",
    ),
    Field(
        "iam_endpoint",
        "IAM endpoint",
        "Receives user name and password. For example https://iam.cn-north-4.myhuaweicloud.com, which is the "
        "default for that region. Needed on private clouds.",
    ),
    Field(
        "domain_name",
        "Account name",
        "Account (IAM domain) of the IAM user. Required with auth_type password.",
    ),
    Field("auth_token", "Token", "The X-Auth-Token to send with auth_type token.", kind="secret"),
    Field(
        "security_token",
        "Security token",
        "Belongs to temporary access keys (auth_type access_key).",
        kind="secret",
    ),
    Field(
        "api_style",
        "API style",
        "Path of the query. mqs: the one of ROMA Connect. dms: the one of Distributed Message Service. "
        "auto: mqs on hosts named roma.*, else whichever the gateway knows. Default: auto.",
        default="auto",
        choices=("auto", "dms", "mqs"),
    ),
    Field(
        "query_endpoint",
        "Query endpoint",
        "Only where queries go to another host, for example https://dms.cn-north-4.myhuaweicloud.com. "
        "This host receives the token too.",
    ),
    Field(
        "paging",
        "Paging",
        "What the service means by offset. page: it counts pages. row: it counts rows. auto: found out. Default: auto.",
        default="auto",
        choices=("auto", "page", "row"),
    ),
    Field(
        "page_size",
        "Page size",
        "Rows to ask for per request, 1 to 50. Default: 50.",
        kind="int",
        default=50,
        minimum=1,
        maximum=50,
    ),
    Field(
        "connect_timeout",
        "Connect timeout (seconds)",
        "For example 10, which is the default.",
        kind="float",
        default=10.0,
        minimum=0.1,
        maximum=600,
    ),
    Field(
        "read_timeout",
        "Read timeout (seconds)",
        "For example 60, which is the default.",
        kind="float",
        default=60.0,
        minimum=0.1,
        maximum=3600,
    ),
    Field(
        "max_retries",
        "Retries",
        "How often a request is repeated when that is safe. Default: 5.",
        kind="int",
        default=5,
        minimum=0,
        maximum=100,
    ),
    Field(
        "verify_tls",
        "Verify TLS certificate",
        "Switch off only for a test system. For a private CA name its file under CA bundle instead.",
        kind="bool",
        default=True,
    ),
    Field(
        "ca_bundle",
        "CA bundle",
        "File with the certificates to trust (PEM), for example /etc/ssl/private-cloud-ca.pem.",
        path=True,
    ),
    Field(
        "client_cert",
        "Client certificate",
        "File with the client certificate and its key (PEM), for example /etc/ssl/airflow-client.pem.",
        path=True,
    ),
    Field(
        "proxy",
        "Proxy",
        "HTTP proxy for all requests, for example http://user:secret@proxy.example.com:3128.",
        kind="secret",
    ),
    Field(
        "allow_http",
        "Allow http",
        "Accept http:// addresses that are not on this machine. Tokens then travel in clear. Default: off.",
        kind="bool",
        default=False,
    ),
    Field(
        "allow_resend",
        "Allow resend",
        "Switch off to make this connection read-only. Default: on.",
        kind="bool",
        default=True,
    ),
    Field(
        "resend_topics",
        "Topics that may be resent",
        "Names or patterns, for example orders and audit-*. Empty: every topic.",
        kind="list",
    ),
    Field(
        "max_resend_messages",
        "Most messages in one resend",
        "A plan with more messages is refused, for example 100000. Empty: no limit.",
        kind="int",
        minimum=1,
    ),
    Field(
        "require_consumer_key",
        "Require a consumer key",
        "Refuse resends to every consumer of a topic. Default: off.",
        kind="bool",
        default=False,
    ),
    Field(
        "max_rate",
        "Most messages per second",
        "Upper limit of every resend, for example 50. Empty: no limit.",
        kind="float",
        minimum=0.001,
    ),
)
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
