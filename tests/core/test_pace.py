"""What the pace is held to, against models of hosts on a clock that jumps."""

import math

import pytest

from enkash_coins.layers.pace import Pace
from enkash_coins.layers.slots import Slots
from tests.simulator.hosts import Host, always
from tests.simulator.pace_models import MODELS, Model, simulate


@pytest.mark.parametrize("name", MODELS)
def test_every_host_is_found_out(name: str) -> None:
    """Few refusals, nearly all of what the host takes, no long queue, and soon so; a dead host is left alone.

    The table of docs/performance.md, with one seed. Where the share used is known to be missed, it gets no worse.
    """
    model = MODELS[name]
    result = simulate(model, lambda _dice, ahead: Pace(Slots(clock_offset=ahead)))
    assert result.refused <= model.refused
    assert result.used >= (model.held or model.used)
    assert result.in_flight <= model.crowds * model.at_once + 4
    assert result.tries <= model.tries
    assert result.found <= model.found_in or model.why


@pytest.mark.parametrize(("every", "random"), [(20, 0), (20, 0.01), (20, 0.2), (2, 0.2), (0.2, 0), (0.2, 0.01)])
def test_backend_with_few_calls_is_not_slowed(every: float, random: float) -> None:
    """Calls now and then go at once, or after a moment, also when some are refused for no reason: idle time says
    nothing about what the host takes.
    """
    model, pace = Model(host=lambda: Host(random=random), every=every, lasts=600 * every), Pace()
    waits = simulate(model, lambda _dice, _ahead: pace).waits
    late = 0.002  # the models' timers
    assert waits[len(waits) // 2] <= late
    assert waits[-1] <= (2 if random or every < 1 else late)
    assert every < 1 or pace.slots.number < 5, "slots that nobody needs do not grow"


@pytest.mark.parametrize("number", [1, 8, 32])
def test_fixed_slots_stay(number: int) -> None:
    """A number for the concurrency is held, and the rate answers refusals."""
    for name in ("4 at once, refuses more", "100/s"):
        pace = Pace(Slots(fixed=number))
        result = simulate(MODELS[name], lambda _dice, _ahead, pace=pace: pace)  # type: ignore[misc]
        assert pace.slots.number == number
        assert result.in_flight <= number
        assert result.refused <= 0.03


def test_limit_is_kept() -> None:
    """What is learnt never goes beyond the rate that the user has set."""
    model = Model(host=lambda: Host(at_once=always(64), queue=math.inf), takes=always(50), used=0.99)
    result = simulate(model, lambda _dice, _ahead: Pace(limit=50))
    assert 0.99 <= result.used <= 1.001


def shut(pace: Pace, retry_after: float = 1.0) -> None:
    """Let a first request go at 0 s and be refused at 0.1 s."""
    assert pace.start(0.0) is None
    pace.on_result(0.1, 0.1, 1, refused=True, retry_after=retry_after)


def test_retry_after_holds_all_back_and_then_one_goes() -> None:
    """Nothing goes before a Retry-After is over, then one request alone, and the others when it is accepted."""
    pace = Pace(Slots(fixed=8))
    shut(pace)
    assert pace.start(0.1) == pytest.approx(1.0)
    assert pace.start(1.2) is None
    assert pace.start(1.2) == math.inf
    pace.on_result(1.3, 0.1, 1, refused=False)
    assert pace.start(1.3 + 1 / pace.rate()) is None


def test_cancelled_request_lets_the_next_one_go() -> None:
    """Whoever gives up while all wait for its answer holds nobody up."""
    pace = Pace()
    shut(pace)
    assert pace.start(1.2) is None
    pace.on_cancelled()
    assert pace.in_flight == 0
    assert pace.start(1.2) is None


def test_own_pauses_are_short() -> None:
    """Without a Retry-After a pause is 8 s at most, however often the host refuses."""
    pace, now, last = Pace(), 0.0, 0.0
    for _ in range(2000):
        wait = pace.start(now)
        if wait is None:
            assert now - last <= 8.02
            last = now
            pace.on_result(now + 0.01, 0.01, pace.in_flight, refused=True, failed=True)
            now += 0.01
        else:
            now = math.nextafter(now + wait, math.inf)


def test_known_refusals_are_heard_once() -> None:
    """A crowd refused together is one refusal: what was sent before the gate shut neither doubles the pause nor
    counts as evidence, but its Retry-After is obeyed.
    """
    pace = Pace(Slots(fixed=8))
    for _ in range(4):
        assert pace.start(0.0) is None
    pace.on_result(0.1, 0.1, 4, refused=True, retry_after=1)
    pace.on_result(0.2, 0.2, 3, refused=True, retry_after=3)
    pace.on_result(0.3, 0.3, 2, refused=True)
    assert pace.start(0.3) == pytest.approx(2.9)
