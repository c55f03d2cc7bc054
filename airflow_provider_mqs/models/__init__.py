"""Values: messages, windows, offsets, reports, settings. Pure; knows neither HTTP nor Airflow."""

from __future__ import annotations
