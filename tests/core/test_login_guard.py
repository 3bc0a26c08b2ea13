"""The guard against the account lock: what goes out of every story of an account."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from typing import Final

import attrs
import pytest

from enkash_coins import (
    ConnectError,
    Disconnected,
    EnkashError,
    LoginRefused,
    LoginSuspended,
    MalformedResponse,
    MemoryGuard,
    RateLimited,
    ServerError,
    TimedOut,
)
from enkash_coins.auth.credentials import Credentials
from enkash_coins.auth.guard import History, begin, end, let_out, obstacle
from enkash_coins.errors import AccountLocked
from enkash_coins.secret import Secret
from tests.simulator.account import Account

# A story: A and B are passwords of one account; "+" works, "-" is refused, "?" has no clear answer, "0" does not count;
# "resetA" is a person's word, "..." is a minute.
ENDS: Final[dict[str, Callable[[], EnkashError | None]]] = {
    "+": lambda: None,
    "-": LoginRefused,
    "?": TimedOut,
    "0": ConnectError,
}
LOGINS = tuple(f"{password}{end}" for password in "AB" for end in ENDS)
EVENTS = (*LOGINS, "resetA", "resetB", "...")


def oracle(events: tuple[str, ...]) -> Iterator[str]:
    """The story by the contract."""
    account, now = Account(), 0.0
    for event in events:
        verdict = ""
        if event == "...":
            now += 60.0
        elif event.startswith("reset"):
            account.reset(event[-1], now)
        else:
            verdict = account.may(event[0], now)
            if verdict == "out" and event[1] != "0":
                account.met(event[0], event[1], now)
        yield verdict


def machine(events: tuple[str, ...]) -> Iterator[str]:
    """The same story, told by the package's own rules."""
    history, now = History(), 0.0
    for event in events:
        if event == "...":
            now += 60.0
        elif event.startswith("reset"):
            history = let_out(history, event[-1], now)
        else:
            password, what = event[0], event[1]
            match obstacle(history, password, now):
                case LoginRefused():
                    yield "refused"
                case LoginSuspended(retry_at=retry_at):
                    yield "look" if retry_at is None else "wait"
                case None:
                    yield "out"
                    history = end(history, begin(history, password, now), password, ENDS[what]())
            continue
        yield ""


@pytest.mark.parametrize("length", range(1, 5))
def test_every_story_ends_as_documented(length: int) -> None:
    """Every sequence of logins with two passwords, of resets and minutes lets out what the contract does."""
    for events in product(EVENTS, repeat=length):
        assert list(machine(events)) == list(oracle(events)), events


def test_long_stories_end_as_documented() -> None:
    """So do long ones, at random."""
    dice = Random(11)
    for _ in range(20_000):
        events = tuple(dice.choices(EVENTS, k=12))
        assert list(machine(events)) == list(oracle(events)), events


def test_who_has_not_worked_never_makes_the_third_failure() -> None:
    """Whatever goes on, without a person's word: a third failure in a row is of credentials that have worked, and a
    minute after the last one without a clear answer.
    """
    dice = Random(12)
    logins = [event for event in EVENTS if not event.startswith("reset")]
    for _ in range(20_000):
        events = tuple(dice.choices(logins, k=12))
        row, worked = list[tuple[str, int]](), set[str]()
        for place, (event, verdict) in enumerate(zip(events, machine(events), strict=True)):
            if verdict != "out" or event[1] == "0":
                continue
            if event[1] == "+":
                row.clear()
                worked.add(event[0])
                continue
            minute = events[:place].count("...")
            assert len(row) < 2 or (event[0] in worked and ("?", minute) not in row), events
            row.append((event[1], minute))


@pytest.mark.parametrize(
    ("story", "ends"),
    [
        # One password.
        ("A- A+ ... A+", "out refused  refused"),
        ("A? A? A? ... A?", "out out look  look"),
        ("A+ A? A? A+", "out out out wait"),
        ("A+ A? A? ... A? A? ... A+", "out out out  out wait  out"),
        ("A+ A- A+", "out out refused"),
        ("A0 A0 A0 A0 A? A? A+", "out out out out out out look"),
        ("A? A+ A? A? A+", "out out out out wait"),
        # Two, of which none has worked: three different ones would be three refusals.
        ("A- B- B+ A+", "out out refused refused"),
        ("A- B? A? B?", "out out refused look"),
        ("A? B- A+", "out out look"),
        ("A- B+ B? B? A+", "out out out out refused"),
        # One works: all others have one failure, and it goes on.
        ("A+ B- B- A+", "out out refused out"),
        ("A+ B? B? ... B? A+", "out out look  look out"),
        ("A+ B- A? A+ ... A+", "out out out wait  out"),
        ("A+ A? B? A+ ... B+ A+", "out out out wait  look out"),
        # It was changed at EnKash: the new one is another one.
        ("A+ A- B+ A+", "out out out refused"),
        ("A+ A- B- B+", "out out out refused"),
        # A person has looked: one login, not two.
        ("A- resetA A- resetA A+ A+", "out  out  out out"),
        ("A- resetA A? A?", "out  out refused"),
        ("A? A? resetA A? A?", "out out  out look"),
        ("A? A? resetA A0 A? A?", "out out  out out look"),
        ("A- resetA A+ A? A?", "out  out out out"),
        ("A? resetA A? A?", "out  out look"),
        ("A+ B- resetB A? B? A+", "out out  out out wait"),
    ],
)
def test_stories_worth_reading(story: str, ends: str) -> None:
    """Examples as literals, lest oracle and machine share a mistake."""
    assert list(machine(tuple(story.split(" ")))) == ends.split(" ")


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        *((TimedOut(), True), (Disconnected(), True), (MalformedResponse(), True), (ServerError(status=503), True)),
        *((ConnectError(), False), (RateLimited(status=429), False), (LoginRefused(), True)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_counts(error: EnkashError, counts: bool) -> None:
    """Refusals, and whatever left and has no clear answer; neither what never left nor a 429."""
    begun = begin(History(), "A", 5.0)
    assert end(History(), begun, "A", error).failures == counts


def test_a_crash_counts() -> None:
    """What is saved before the request leaves is as bad as an answer that never came."""
    begun = begin(History(), "A", 5.0)
    assert begun == end(History(), begun, "A", TimedOut()) == History(failures=1, unproven=1, unclear_at=5.0)


def test_an_account_that_is_locked_has_failed_three_times() -> None:
    """Whatever was known of it: so no other password is tried either."""
    begun = begin(History(), "A", 5.0)
    locked = end(History(), begun, "A", AccountLocked())
    assert locked.failures == 3
    assert isinstance(obstacle(locked, "B", 6.0), LoginSuspended)


WORKED = History(failures=2, unclear_at=1000.0, worked=("A",))


@pytest.mark.parametrize(("age", "wait"), [(0.0, 60.0), (1.5, 58.5), (59.9, 0.1)])
def test_a_suspension_says_when_it_ends(age: float, wait: float) -> None:
    """``retry_at`` is a minute after the latest login began, as a time of day with its zone."""
    before = datetime.now(UTC)
    error = obstacle(WORKED, "A", 1000.0 + age)
    assert isinstance(error, LoginSuspended)
    assert error.retry_at is not None
    assert error.retry_at.tzinfo is UTC
    late = error.retry_at - before - timedelta(seconds=wait)
    assert timedelta(milliseconds=-1) <= late < timedelta(seconds=5)
    assert str(error) == (
        f"2 logins to this account failed or had no clear answer: the next may go out at {error.retry_at:%H:%M:%S} UTC"
    )


def test_a_minute_is_over_at_its_end() -> None:
    """At sixty seconds sharp the next login may go out, and starts the next minute."""
    assert obstacle(WORKED, "A", 1060.0) is None
    begun = begin(WORKED, "A", 1060.0)
    assert obstacle(begun, "A", 1119.9) is not None
    assert obstacle(begun, "A", 1120.0) is None


def test_a_clock_that_is_set_back_holds_nothing_back() -> None:
    """A minute is a minute from now at most, whatever the clock said: hours ahead must not become hours of waiting."""
    assert obstacle(WORKED, "A", 900.0) is None


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (
            History(failures=2),
            "2 logins to this account failed or had no clear answer, and a third may lock it",
        ),
        (
            History(failures=1, unproven=1, worked=("another",)),
            "a login with other credentials than those that work for this account has failed",
        ),
    ],
)
def test_a_suspension_for_ever_says_why(history: History, why: str) -> None:
    """The message is all that a person has to go by."""
    assert str(obstacle(history, "A", 2000.0)) == f"{why}: nothing is sent until somebody has looked"


def test_no_history_is_changed_in_place() -> None:
    """Histories are values: what was saved is what was meant."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        WORKED.failures = 0  # type: ignore[misc]  # that is what is refused


def login(username: str = "user", password: str = "sesame") -> Credentials:
    """A login."""
    return Secret(("client", "secret", username, password))


USED = History(failures=1, unclear_at=3.0)


async def test_the_guard_keeps_accounts_apart_and_not_passwords() -> None:
    """One history for a client id, a username and a host, whatever the password; another guard knows nothing."""
    guard = MemoryGuard()
    async with guard.hold(login()) as record:
        await record.save("one", USED)
    async with guard.hold(login(password="another")) as other:
        assert other.histories == {"one": USED}
        assert other.credentials != record.credentials
    async with guard.hold(login()) as again:
        assert again.credentials == record.credentials
    async with guard.hold(login("another")) as other:
        assert other.histories == {}
    async with MemoryGuard().hold(login()) as other:
        assert other.histories == {}


async def one_more(guard: MemoryGuard) -> int:
    """A login that fails, and how many have."""
    async with guard.hold(login()) as record:
        failures = record.histories.get("", History()).failures + 1
        await asyncio.sleep(0)
        await record.save("", History(failures=failures))
        return failures


async def test_one_login_at_a_time_holds_a_record() -> None:
    """Who comes second reads what the first one saved."""
    guard = MemoryGuard()
    assert sorted(await asyncio.gather(*(one_more(guard) for _ in range(5)))) == [1, 2, 3, 4, 5]


async def test_a_failed_or_cancelled_login_lets_go() -> None:
    """The record is free again however the login ended."""
    guard = MemoryGuard()

    async def fail() -> None:
        async with guard.hold(login()):
            raise OSError

    async def hang() -> None:
        async with guard.hold(login()):
            await asyncio.Event().wait()

    with pytest.raises(OSError):  # noqa: PT011  # the very one raised above
        await fail()
    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5), guard.hold(login()) as record:
        assert record.histories == {}


def test_a_guard_outlives_its_event_loops() -> None:
    """Histories last as long as the process; a loop that is gone holds nothing back, and is not kept alive."""
    guard = MemoryGuard()
    assert [asyncio.run(one_more(guard)) for _ in range(3)] == [1, 2, 3]
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
    async with guard.hold(login()) as record, another.hold(login()) as other:
        await record.save("", USED)
        await other.save("", USED)
        assert "sesame" not in repr((guard, vars(guard), record, login()))
        assert record.credentials != other.credentials
    assert guard._histories.keys().isdisjoint(another._histories.keys())
