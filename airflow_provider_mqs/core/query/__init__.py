"""Reading a time window whole: slices, saturated milliseconds, filters, completeness."""

from __future__ import annotations
