"""Finding the copies of messages, and deciding from them what was sent."""

from __future__ import annotations
