"""Pytest fixtures for people who test their own DAGs: a local MQS service on a real socket."""

from __future__ import annotations
