"""Small values that everything else uses: messages, time windows, argument readers, the URI of a topic."""

from __future__ import annotations
