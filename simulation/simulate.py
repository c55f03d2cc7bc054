"""Run one schedule, and say what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_mqs import process_state
from simulation import engine
from simulation.airflow import Airflow
from simulation.events import events_of, listen
from simulation.oracle import Oracle, Violation
from simulation.service import SimulatedService
from simulation.virtual_time import EndlessError, World

if TYPE_CHECKING:
    from simulation.facts import Facts
    from simulation.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a schedule."""

    violations: list[Violation]
    exempt: list[str]
    facts: Facts
    log: list[tuple[float, str, str]]
    requests: int
    events: set[str]


_service: list[SimulatedService] = []


def simulate(schedule: Schedule) -> Outcome:
    """Carry out a schedule and judge it."""
    engine.scale_down()
    listener = listen()
    listener.said.clear()
    if not _service:
        _service.append(SimulatedService())
    service, world = _service[0], World()
    process_state.reset()
    service.begin(world, schedule.seed, schedule.partitions, **dict(schedule.behaviour))
    airflow = Airflow(schedule, service, world)
    endless = []
    try:
        facts = airflow.run()
    except EndlessError as error:
        facts, endless = airflow.facts, [Violation("endless", str(error))]
        airflow.bury()
    events = events_of(facts, world.log, service, listener)
    oracle = Oracle(service, facts, airflow.stores, engine.MOST_CLAIMED)
    return Outcome(
        endless or oracle.judge(), sorted(set(oracle.exempt)), facts, world.log, len(service.core.log), events
    )
