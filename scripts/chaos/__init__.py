"""Kill a replay again and again, and count in the service's own log that each message was sent once."""

from __future__ import annotations
