"""Operators. They read the context, call the engine, push XComs; they know nothing of HTTP."""

from __future__ import annotations
