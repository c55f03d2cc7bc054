"""The commands of the Makefile on every supported Python, each in an environment of its own: `nox --list`."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests", "tests_211"]
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "uv|virtualenv"


def install(session: nox.Session, pins: str) -> None:
    """Install the pins and the package, resolving nothing."""
    session.install("-r", pins)
    session.install("--no-deps", "--no-build-isolation", "--editable", ".")


@nox.session(python="3.12")
def lint(session: nox.Session) -> None:
    """Check style, types and layers."""
    install(session, "constraints.txt")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the suite on Airflow 3.3."""
    install(session, "constraints.txt")
    session.run("python", "-m", "pytest", "-n", "2", "-m", "not airflow", *session.posargs)


@nox.session(python=["3.10", "3.11", "3.12"])
def tests_211(session: nox.Session) -> None:
    """Run the suite on Airflow 2.11."""
    install(session, "constraints-2.11.txt")
    session.run("python", "-m", "pytest", "-n", "2", "-m", "not airflow", *session.posargs)


@nox.session(python="3.12")
def demo(session: nox.Session) -> None:
    """Backfill three hours on a real Airflow against the local service."""
    install(session, "constraints.txt")
    session.run("python", "-m", "scripts.demo")


@nox.session(python=False)
def lock(session: nox.Session) -> None:
    """Update the pins of both Airflow series."""
    session.run("make", "lock", external=True)
