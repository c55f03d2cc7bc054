"""
The protocol: HTTP requests to MQS and IAM, and the clients that send them.

- ``api``: one flow per API call
- ``auth``: credentials for a request: password and token, token, or access key
- ``client``: ``MqsClient`` and ``AsyncMqsClient``, which run flows
- ``concurrency``: several coroutines at once, and no longer than some seconds
- ``errors``: the service's error codes, and the exceptions that they become
- ``flow``: requests, responses and other steps; the two drivers
- ``paging``: what ``offset`` means at this service
- ``retry``: which errors are worth another attempt, and when
- ``service_clock``: what time it is at the service, between two bounds
- ``signing``: the signature of access keys
- ``token_cache``: one token and one login per identity and process
- ``transport``: what both transports share: proxy and TLS
- ``transport_aiohttp``, ``transport_requests``: the two transports
"""
