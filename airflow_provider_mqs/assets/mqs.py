"""
MQS topics as assets: ``Asset(name=uri, uri="mqs://{host}/{instance_id}/{topic}")``.

Airflow imports this file whenever a DAG names such an asset, so the file itself imports as little as possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from airflow_provider_mqs.core.values.topic_ref import RECORD_HOST, ref_of_uri, topic_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.common.compat.sdk import Asset


def mqs_topic_asset(*, host: str, instance_id: str, topic: str, **more: Any) -> Asset:
    """
    Make the asset of a topic.

    As an outlet of ``ResendMessagesOperator`` it gets an event with the report once the task has succeeded.

    :param host: host of the connection, with its port if it has one
    :param instance_id: instance
    :param topic: topic name
    :param more: ``group``, ``extra``, ``watchers`` … of ``Asset``
    :return: the asset, whose name is its URI; on Airflow 2 a dataset
    :raises ValueError: a part is missing or invalid
    """
    from airflow.providers.common.compat.sdk import Asset  # noqa: PLC0415 - a URI alone needs none

    from airflow_provider_mqs._compat import AIRFLOW_VERSION  # noqa: PLC0415 - same

    uri = topic_uri(host, instance_id, topic)
    # the datasets of Airflow 2 have no name
    named: dict[str, Any] = {"name": uri} if AIRFLOW_VERSION >= (3, 0) else {}
    return Asset(uri=uri, **named, **more)


def create_asset(*, host: str, instance_id: str, topic: str, extra: dict[str, Any] | None = None) -> Asset:
    """
    Make the asset of a topic for Airflow's lineage.

    Source: Airflow documentation, provider metadata ``asset-uris``.

    :param host: host of the endpoint
    :param instance_id: instance
    :param topic: topic name
    :param extra: extra of the asset
    :return: the asset
    """
    return mqs_topic_asset(host=host, instance_id=instance_id, topic=topic, extra=extra or {})


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Check the URI of an asset: a wrong one is an error of the DAG file.

    Source: Airflow documentation, provider metadata ``asset-uris``.

    :param uri: URI with the scheme ``mqs``
    :return: the URI of the same topic in its canonical spelling
    :raises ValueError: it names no topic
    """
    if uri.netloc == RECORD_HOST:
        return uri
    return urlsplit(topic_uri(*ref_of_uri(uri)))


def convert_asset_to_openlineage(asset: Asset, lineage_context: object) -> Dataset | None:  # noqa: ARG001 - Airflow's
    """
    Name a topic as OpenLineage does.

    Source: Airflow documentation, provider metadata ``asset-uris``.

    :param asset: asset with the scheme ``mqs``
    :param lineage_context: unused
    :return: the instance as namespace and the topic as name; ``None`` for the record of replays, which is no data
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset  # noqa: PLC0415 - the package is optional

    parts = urlsplit(asset.uri)
    if parts.netloc == RECORD_HOST:
        return None
    host, instance_id, topic = ref_of_uri(parts)
    return Dataset(namespace=f"mqs://{host}/{instance_id}", name=topic)
