"""What the code of the sensors says about the reasons; written by hand, for the versions that were run."""

from __future__ import annotations

NOTES: tuple[str, ...] = ()
