"""The guard against the account lock."""

import asyncio
import gc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final

import attrs
import pytest

from enkash_coins import LoginRefused, LoginSuspended, MemoryGuard
from enkash_coins.auth.guard import LoginHistory, LoginResult, admit, lift, settle
from enkash_coins.secret import Secret

RESULTS: Final = {
    "accepted": LoginResult.ACCEPTED,
    "refused": LoginResult.REFUSED,
    "doubtful": LoginResult.DOUBTFUL,
    "not_counted": LoginResult.NOT_COUNTED,
}
EVENTS = (*RESULTS, "a minute passes", "reset")


def oracle(events: tuple[str, ...]) -> Iterator[str]:
    """What the documents say about each login of a story: out, refused, suspended (for a while), or for ever; and at a
    reset how many failed logins EnKash may have counted in a row.

    Told from the past alone: a list of what happened and when, without counters.
    """
    minute = 0
    past: list[tuple[str, int]] = []
    for event in events:
        if event == "a minute passes":
            minute += 1
            continue
        worked = [place for place, (what, _) in enumerate(past) if what == "accepted"]
        since = past[worked[-1] + 1 if worked else 0 :]
        failed = [when for what, when in since if what in ("doubtful", "refused")]
        if event == "reset":
            yield f"{len(failed)} failed"
            past.append((event, minute))
            continue
        resets = [place for place, (what, _) in enumerate(since) if what == "reset"]
        looked_at = resets[-1] if resets else 0
        # Of all that had failed when a person looked, one goes on counting: a reset lets out one login, and not two.
        before = [when for what, when in since[:looked_at] if what in ("doubtful", "refused")][-1:]
        after = [when for what, when in since[looked_at:] if what in ("doubtful", "refused")]
        doubts = before + after
        if any(what == "refused" for what, _ in since[looked_at:]):
            yield "refused"
        elif len(doubts) >= 2 and not worked:
            yield "for ever"
        elif len(doubts) >= 2 and doubts[-1] == minute:
            yield "suspended"
        else:
            yield "out"
            past.append((event, minute))


def machine(events: tuple[str, ...]) -> Iterator[str]:
    """The same story, told by the package's own rules."""
    history, now = LoginHistory(), 1000.0
    for event in events:
        if event == "a minute passes":
            now += 60.0
            continue
        if event == "reset":
            history = lift(history)
            yield f"{history.failed} failed"
            continue
        try:
            charged = admit(history, now)
        except LoginRefused:
            yield "refused"
        except LoginSuspended as error:
            yield "for ever" if error.retry_at is None else "suspended"
        else:
            yield "out"
            history = settle(history, charged, RESULTS[event])


@pytest.mark.parametrize("length", range(1, 7))
def test_every_story_ends_as_documented(length: int) -> None:
    """Every sequence of logins and minutes up to six lets out exactly the logins that the rules allow."""
    for events in product(EVENTS, repeat=length):
        assert list(machine(events)) == list(oracle(events)), events


@pytest.mark.parametrize(
    ("story", "ends"),
    [
        (("doubtful", "doubtful", "doubtful"), ["out", "out", "for ever"]),
        (("doubtful", "a minute passes", "doubtful", "a minute passes", "accepted"), ["out", "out", "for ever"]),
        (("accepted", "doubtful", "doubtful", "accepted"), ["out", "out", "out", "suspended"]),
        (("accepted", "doubtful", "doubtful", "a minute passes", "doubtful", "doubtful"), ["out"] * 4 + ["suspended"]),
        (("refused", "a minute passes", "accepted", "accepted"), ["out", "refused", "refused"]),
        (("accepted", "refused", "accepted"), ["out", "out", "refused"]),
        (("not_counted",) * 5 + ("doubtful",), ["out"] * 6),
        (("doubtful", "accepted", "doubtful", "doubtful", "accepted"), ["out"] * 4 + ["suspended"]),
        (("refused", "reset", "refused", "reset", "accepted"), ["out", "1 failed", "out", "2 failed", "out"]),
        (("refused", "reset", "doubtful", "accepted"), ["out", "1 failed", "out", "for ever"]),
        (("doubtful", "doubtful", "reset", "accepted", "reset"), ["out", "out", "2 failed", "out", "0 failed"]),
        (("not_counted", "reset", "doubtful", "doubtful", "accepted"), ["out", "0 failed", "out", "out", "for ever"]),
    ],
)
def test_stories_worth_reading(story: tuple[str, ...], ends: list[str]) -> None:
    """Examples as literals, lest oracle and machine share a mistake."""
    assert list(machine(story)) == ends


def test_credentials_that_never_worked_get_two_doubtful_logins_ever() -> None:
    """However long one waits, and whatever is not counted in between."""
    for events in product(("doubtful", "not_counted", "a minute passes"), repeat=7):
        logins = [event for event in events if event != "a minute passes"]
        out = [event for event, end in zip(logins, machine(events), strict=True) if end == "out"]
        assert out.count("doubtful") <= 2


PROVEN = LoginHistory(proven=True, doubtful=2, latest=1000.0, failed=2)


@pytest.mark.parametrize(("age", "wait"), [(0.0, 60.0), (1.5, 58.5), (59.9, 0.1)])
def test_a_suspension_says_when_it_ends(age: float, wait: float) -> None:
    """``retry_at`` is a minute after the latest login began, as a time of day with its zone."""
    before = datetime.now(UTC)
    with pytest.raises(LoginSuspended) as caught:
        admit(PROVEN, 1000.0 + age)
    assert caught.value.retry_at is not None
    assert caught.value.retry_at.tzinfo is UTC
    late = caught.value.retry_at - before - timedelta(seconds=wait)
    assert timedelta(milliseconds=-1) <= late < timedelta(seconds=5)
    assert f"{caught.value.retry_at:%H:%M:%S} UTC" in str(caught.value)


def test_a_suspension_for_ever_says_why() -> None:
    """The message is all that a person has to go by."""
    with pytest.raises(LoginSuspended) as caught:
        admit(LoginHistory(doubtful=2, latest=1000.0), 2000.0)
    assert str(caught.value) == (
        "2 logins without a clear answer, with credentials that never worked:"
        " no further one, because a third failure would lock the account"
    )


def test_a_minute_is_over_at_its_end() -> None:
    """At sixty seconds sharp the next login may go out, and starts the next minute."""
    charged = admit(PROVEN, 1060.0)
    assert charged == LoginHistory(proven=True, doubtful=3, latest=1060.0, failed=3)
    with pytest.raises(LoginSuspended):
        admit(charged, 1119.9)
    assert admit(charged, 1120.0).doubtful == 4


def test_a_crash_between_charge_and_answer_counts_as_doubtful() -> None:
    """What is saved before the request leaves is as bad as an answer that never came."""
    history = LoginHistory()
    charged = admit(history, 5.0)
    assert charged == settle(history, charged, LoginResult.DOUBTFUL) == LoginHistory(doubtful=1, latest=5.0, failed=1)


def test_an_uncounted_login_leaves_no_trace() -> None:
    """Neither the count nor the minute begins anew."""
    assert settle(PROVEN, admit(PROVEN, 2000.0), LoginResult.NOT_COUNTED) is PROVEN


def test_no_history_is_changed_in_place() -> None:
    """Histories are values: what was saved is what was meant."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PROVEN.doubtful = 0  # type: ignore[misc]  # that is what is refused


ONE, OTHER = Secret(b"sesame-one"), Secret(b"sesame-other")
USED = LoginHistory(doubtful=1, latest=3.0)


async def test_the_guard_keeps_histories_apart() -> None:
    """Each set of credentials has its own; the same ones are recognised; another guard knows nothing."""
    guard = MemoryGuard()
    async with guard.hold(ONE) as record:
        assert record.history == LoginHistory()
        await record.save(USED)
        assert record.history == USED
    async with guard.hold(OTHER) as record:
        assert record.history == LoginHistory()
    async with guard.hold(Secret(b"sesame-one")) as record:
        assert record.history == USED
    async with MemoryGuard().hold(ONE) as record:
        assert record.history == LoginHistory()


async def test_one_login_at_a_time_holds_a_record() -> None:
    """Who comes second reads what the first one saved."""
    guard, steps = MemoryGuard(), []

    async def log_in(name: str) -> None:
        async with guard.hold(ONE) as record:
            steps.append(f"{name} in, {record.history.doubtful} doubtful")
            await asyncio.sleep(0)
            await record.save(attrs.evolve(record.history, doubtful=record.history.doubtful + 1))
            steps.append(f"{name} out")

    await asyncio.gather(log_in("a"), log_in("b"))
    assert steps == ["a in, 0 doubtful", "a out", "b in, 1 doubtful", "b out"]


async def test_a_failed_or_cancelled_login_lets_go() -> None:
    """The record is free again however the login ended."""
    guard = MemoryGuard()

    async def fail() -> None:
        async with guard.hold(ONE):
            raise OSError

    async def hang() -> None:
        async with guard.hold(ONE):
            await asyncio.Event().wait()

    with pytest.raises(OSError):  # noqa: PT011  # the very one raised above
        await fail()
    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5), guard.hold(ONE) as record:
        assert record.history == LoginHistory()


def test_a_guard_outlives_its_event_loops() -> None:
    """Histories last as long as the process; a loop that is gone holds nothing back, and is not kept alive."""
    guard = MemoryGuard()

    async def log_in() -> int:
        async with guard.hold(ONE) as record:
            await record.save(attrs.evolve(record.history, doubtful=record.history.doubtful + 1))
            return record.history.doubtful

    assert [asyncio.run(log_in()) for _ in range(3)] == [1, 2, 3]
    gc.collect()
    assert len(guard._locks) == 0


async def test_the_guard_reads_the_loops_clock() -> None:
    """Its seconds are those by which tokens expire."""
    clock = asyncio.get_running_loop().time
    before = clock()
    assert before <= MemoryGuard().now() <= clock()


async def test_nothing_of_the_credentials_is_kept() -> None:
    """Neither what a guard shows nor what it holds gives the credentials back; guards don't share fingerprints."""
    guard, another = MemoryGuard(), MemoryGuard()
    async with guard.hold(ONE) as record, another.hold(ONE) as other:
        await record.save(USED)
        await other.save(USED)
        shown = repr((guard, vars(guard), record))
    assert "sesame" not in shown
    assert guard._histories.keys().isdisjoint(another._histories.keys())
