"""Triggers. They wait in the triggerer, and only ever read: a resend belongs on a worker."""

from __future__ import annotations
