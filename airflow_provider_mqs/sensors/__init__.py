"""Sensors. They resolve the window and say to Airflow what was decided; they know nothing of HTTP."""

from __future__ import annotations
