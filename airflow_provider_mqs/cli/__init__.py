"""
The commands of ``python -m airflow_provider_mqs`` and ``airflow mqs``: arguments in, text for a person out.

- ``airflow_commands``: the commands as Airflow adds them to its own command line
- ``commands``: all commands by name; the emulator's is in ``emulator.command``
- ``doctor``, ``probe``: check a connection, and measure how the service behaves
- ``ledger_path``: where commands keep ledgers
- ``output``: what the commands share: connection, document, messages and exit codes
- ``query``, ``resend``: find the messages of a window, and send them again
"""
