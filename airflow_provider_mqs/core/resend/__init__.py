"""The replay: claiming, sending, pacing, reporting."""

from __future__ import annotations
