"""The fields of an MQS connection, and the settings that they become."""

from __future__ import annotations
