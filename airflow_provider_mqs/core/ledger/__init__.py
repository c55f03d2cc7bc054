"""The ledger of a replay: what was sent, what is in doubt, who is sending, and where that is kept."""

from __future__ import annotations
