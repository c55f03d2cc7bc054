"""Offsets: ranges of one partition, ranges by partition, the offsets document, and the plan of a resend."""

from __future__ import annotations
