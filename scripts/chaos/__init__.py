"""`make chaos`: kill replays again and again, and count in the service's own log how often each message was sent."""

from __future__ import annotations
