"""Waiting: when a window is final, and what is new in a topic."""

from __future__ import annotations
