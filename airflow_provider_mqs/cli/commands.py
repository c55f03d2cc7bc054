"""All commands, by name; each is imported only when it is called. Imports no Airflow."""

from __future__ import annotations

from typing import Final

COMMANDS: Final = {
    "doctor": (
        "airflow_provider_mqs.cli.doctor",
        "Check a connection step by step, and measure how the service behaves",
    ),
    "emulator": ("airflow_provider_mqs.emulator.command", "Run a local MQS service"),
    "query": ("airflow_provider_mqs.cli.query", "Find the messages of a window"),
    "resend": ("airflow_provider_mqs.cli.resend", "Send the messages of a query again, each once"),
}
"""Name to module, which has ``add_arguments(parser)`` and ``run(args) -> exit code``, and what the command does."""
