"""What runs inside a task or a command."""

from __future__ import annotations
