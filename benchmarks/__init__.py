"""
Measure this provider against what people would use instead, on one machine and in one run.

A loopback service that is never the bottleneck, contestants in processes of their own, taken in turns; what counts are
the ratios. ``make bench`` runs everything and writes ``docs/benchmarks.md`` and ``docs/sizing.md``.
"""

from __future__ import annotations
