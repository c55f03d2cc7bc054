"""What time it is at the service: the true time is always within the bounds, whatever this machine's clock says."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mqs.core.client.flow import Response
from airflow_provider_mqs.core.client.service_clock import DRIFT, ServiceClock, http_date_ms

EPOCH_S = 1_700_000_000.0
HOUR_MS = 3_600_000


@dataclass
class World:
    """A service and a machine whose clocks have nothing in common; the machine's is on ``wall_s``."""

    service_s: float = EPOCH_S
    now_s: float = 50.0
    wall_s: float = 1_500_000_000.0
    speed: float = 1.0
    """Seconds at the service during one of ours."""

    def __post_init__(self) -> None:
        self.clock = ServiceClock(lambda: self.now_s, lambda: self.wall_s)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.service_s += seconds * self.speed

    def ask(self, there_s: float = 0.01, back_s: float = 0.01, status: int = 200, **headers: str) -> None:
        asked_s = self.now_s
        self.wait(there_s)
        date = {"date": formatdate(int(self.service_s), usegmt=True)}
        self.wait(back_s)
        self.clock.note_answer(Response(status, date | headers), asked_s, self.now_s)

    @property
    def error_ms(self) -> float:
        """How far the true time is outside the bounds; 0 if it is inside."""
        true_ms = self.service_s * 1000
        # a float has no more than a thousandth of a millisecond here
        return max(0.0, self.clock.earliest_ms() - true_ms - 0.01, true_ms - self.clock.latest_ms() - 0.01)

    @property
    def width_ms(self) -> int:
        return self.clock.latest_ms() - self.clock.earliest_ms()


delays = st.floats(0, 5)
answers = st.lists(st.tuples(st.floats(0, 4000), delays, delays), min_size=1, max_size=30)


@given(st.floats(0, 1), answers, st.floats(1 - DRIFT, 1 + DRIFT), st.floats(0, 4000))
def test_true_time_is_always_within_the_bounds(
    phase_s: float, asked: list[tuple[float, float, float]], speed: float, after_s: float
) -> None:
    """Whatever the answers' delays, the pauses between them, and the speed of both clocks within what is allowed."""
    world = World(EPOCH_S + phase_s, speed=speed)

    for pause_s, there_s, back_s in asked:
        world.wait(pause_s)
        assert not world.clock.known or world.error_ms == 0
        world.ask(there_s, back_s)
        assert world.error_ms == 0
    world.wait(after_s)

    assert world.error_ms == 0


@given(answers, st.lists(st.floats(0, 2e9), min_size=1))
def test_jumps_of_this_machines_clock_change_nothing(
    asked: list[tuple[float, float, float]], walls: list[float]
) -> None:
    """Once the service has answered, its clock alone counts."""
    jumping, steady = World(), World()

    for number, (pause_s, there_s, back_s) in enumerate(asked):
        jumping.wall_s = walls[number % len(walls)]
        for world in (jumping, steady):
            world.wait(pause_s)
            world.ask(there_s, back_s)
        bounds = [
            (world.clock.earliest_ms(), world.clock.now_ms(), world.clock.latest_ms()) for world in (jumping, steady)
        ]
        assert bounds[0] == bounds[1]


@given(answers, st.one_of(st.floats(-1e6, -20), st.floats(20, 1e6)), delays, delays)
def test_step_of_the_services_clock_is_followed_at_once(
    asked: list[tuple[float, float, float]], step_s: float, there_s: float, back_s: float
) -> None:
    """A step that is longer than the bounds are wide shows in the next answer."""
    world = World()
    for _, there, back in asked:
        world.ask(there, back)

    world.service_s += step_s
    world.ask(there_s, back_s)

    assert world.error_ms == 0


@given(st.floats(0, 1), st.floats(-3, 3), st.floats(0, 0.3))
def test_small_step_of_the_services_clock_is_followed_soon(phase_s: float, step_s: float, trip_s: float) -> None:
    """A step of less than a second may fit into the bounds; answers at other moments of a second show it."""
    world = World(EPOCH_S + phase_s)
    for _ in range(20):
        world.wait(0.21)
        world.ask(trip_s, trip_s)

    world.service_s += step_s
    for _ in range(20):
        world.wait(0.21)
        world.ask(trip_s, trip_s)

    # the resolution of these answers
    assert world.error_ms <= 250 + 2000 * trip_s


def test_many_answers_are_more_exact_than_one() -> None:
    """A date has whole seconds only; answers at other moments of a second narrow the bounds."""
    world = World()
    world.ask()
    assert 1000 <= world.width_ms <= 1100

    for _ in range(40):
        world.wait(0.217)
        world.ask()

    assert world.width_ms <= 120
    assert world.error_ms == 0


def test_bounds_are_far_apart_if_the_answer_took_long() -> None:
    """It cannot be told when the service wrote its date."""
    world = World()

    world.ask(20, 30)

    assert world.width_ms == pytest.approx(51_000, abs=200)
    assert world.error_ms == 0


def test_slow_answer_does_not_make_a_good_bound_worse() -> None:
    """The best bounds of all answers count."""
    world = World()
    world.ask()

    world.ask(20, 30)

    assert world.width_ms <= 1_200
    assert world.error_ms == 0


def test_middle_lies_between_the_bounds() -> None:
    """``now_ms`` is the best guess."""
    world = World()
    world.ask()

    assert world.clock.now_ms() == pytest.approx((world.clock.earliest_ms() + world.clock.latest_ms()) / 2, abs=1)


def test_unknown_time_is_this_machines_give_or_take_an_hour() -> None:
    """Before the first answer there is nothing else."""
    world = World()

    assert world.clock.known is False
    wall_ms = round(world.wall_s * 1000)
    bounds = world.clock.earliest_ms(), world.clock.now_ms(), world.clock.latest_ms()
    assert bounds == (wall_ms - HOUR_MS, wall_ms, wall_ms + HOUR_MS)


@pytest.mark.parametrize(
    "date", ["", "soon", "Sun, 22 Nov 2026 00:00:07 +99999999999999999999", "Thu, 99 Jan 2026 00:00:00 GMT"]
)
def test_answer_without_a_readable_date_says_nothing(date: str) -> None:
    """Neither an absent header nor nonsense counts."""
    world = World()

    world.ask(date=date)

    assert not world.clock.known


@pytest.mark.parametrize(
    "text", ["Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:20 -0000", "Tue, 14 Nov 2023 23:13:20 +0100"]
)
def test_dates_of_http_are_read_as_utc(text: str) -> None:
    """Also one without a known time zone."""
    assert http_date_ms(text) == EPOCH_S * 1000


def test_answer_of_a_cache_is_not_believed() -> None:
    """Its date is that of another day."""
    world = World()

    world.ask(age="86400")
    assert not world.clock.known

    world.ask(age="0")
    assert world.clock.known


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 404, 429])
def test_refusal_has_the_services_time_too(status: int) -> None:
    """Every answer of the service counts."""
    world = World()

    world.ask(status=status)

    assert world.clock.known
    assert world.error_ms == 0


@pytest.mark.parametrize("status", [407, 500, 502, 503, 504])
def test_answer_in_the_services_place_counts_only_as_long_as_there_is_no_other(status: int) -> None:
    """A gateway or a proxy has a clock of its own."""
    world = World()
    world.service_s -= 600
    world.ask(status=status)
    assert world.error_ms == 0
    world.service_s += 600
    world.ask()
    assert world.error_ms == 0

    world.service_s -= 600
    world.ask(status=status)

    world.service_s += 600
    assert world.error_ms == 0


def test_copy_tells_the_time_if_no_answer_does() -> None:
    """Its timestamp is exact to a millisecond, but only known to lie between the question and the answer."""
    world = World()
    asked_s = world.now_s
    world.wait(0.1)
    timestamp_ms = int(world.service_s * 1000)
    world.wait(0.2)

    world.clock.note_copy(timestamp_ms, asked_s, world.now_s)

    assert world.error_ms == 0
    assert world.width_ms <= 305


def test_copy_does_not_contradict_the_answers() -> None:
    """The ``Date`` of answers is what all machines can see."""
    world = World()
    world.ask()

    world.clock.note_copy(1_000, world.now_s, world.now_s)

    assert world.error_ms == 0


def test_first_date_of_the_service_replaces_what_was_guessed_before() -> None:
    """Even if both could be true."""
    world = World()
    world.clock.note(EPOCH_S * 1000, EPOCH_S * 1000 + 1, world.now_s, world.now_s)
    world.service_s += 0.5

    world.ask()

    assert world.error_ms == 0
    assert world.width_ms >= 1000


def test_another_clock_is_believed_until_the_service_answers() -> None:
    """IAM is another machine, whose clock is better than ours."""
    world, iam = World(), World(EPOCH_S - 100)
    world.clock.fallback, iam.wall_s = iam.clock, 0.0
    assert not world.clock.known
    assert world.clock.now_ms() == world.wall_s * 1000

    iam.ask()
    assert world.clock.known
    assert world.clock.now_ms() == iam.clock.now_ms()

    world.ask()
    assert world.error_ms == 0


@pytest.mark.parametrize("step_s", [600, -600])
def test_it_is_known_how_far_the_clock_was_set(step_s: float) -> None:
    """However long this machine has been running; clocks that only drift were not set."""
    world = World(now_s=100_000, speed=1 + DRIFT / 2)
    for _ in range(100):
        world.ask()
        world.wait(10)
    before_ms = world.clock.set_ms

    world.service_s += step_s
    world.ask()

    assert before_ms == 0
    assert 600_000 <= world.clock.set_ms <= 605_000
