"""Hosts with limits, and clients that meet them, on a clock that jumps from event to event. Time is in seconds."""

import heapq
import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Protocol

import attrs

Varying = Callable[[float], float]  # a value, by the time


def always(value: float) -> Varying:
    """The same at any time."""
    return lambda _now: value


def step(before: float, after: float, at: float = 60.0) -> Varying:
    """One value first, another from then on."""
    return lambda now: before if now < at else after


def like(mean: float, jitter: float = 0.1) -> Callable[[Random], float]:
    """Seconds of work around a mean."""
    return lambda dice: mean * dice.uniform(1 - jitter, 1 + jitter)


UNBOUNDED, UNCHANGED, FIFTY_MS = always(math.inf), always(1.0), like(0.05)


class World:
    """The clock: actions in the order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        self._number += 1
        heapq.heappush(self._actions, (when, self._number, action))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._actions and self._actions[0][0] <= until:
            self.now, _, action = heapq.heappop(self._actions)
            action()


class Quota(Protocol):
    """How a host counts."""

    def wait(self, now: float) -> float:
        """Take one and return 0, or return the seconds until there is one."""


class Bucket:
    """So many a second, and ``burst`` of them at once."""

    def __init__(self, rate: Varying, burst: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate(now))
        self._at = now
        if self._tokens < 1 - 1e-9:
            return (1 - self._tokens) / self._rate(now)
        self._tokens -= 1
        return 0.0


class Window:
    """So many in each window of the host's clock, or, where it slides, in any span of that length."""

    def __init__(self, quota: int, seconds: float, *, slides: bool = False) -> None:
        self._quota, self._seconds, self._slides = quota, seconds, slides
        self._taken: deque[float] = deque()

    def wait(self, now: float) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        began = now - (self._seconds if self._slides else (now + 0.37 * self._seconds) % self._seconds)
        while self._taken and self._taken[0] < began:
            self._taken.popleft()
        if len(self._taken) < self._quota:
            self._taken.append(now)
            return 0.0
        return (self._taken[0] if self._slides else began) + self._seconds - now


class Answer(Protocol):
    """What a client is called with when an answer has come."""

    def __call__(self, *, refused: bool, failed: bool = False, retry_after: float = 0.0) -> None:
        """Take it."""


@attrs.define(eq=False, kw_only=True)
class Host:
    """What it takes, and what it does with more.

    Attributes:
        at_once: how many requests it works on at once.
        queue: how many wait for that; more are refused.
        works: seconds of work for a request.
        slower: by how much, over time.
        quota: makes what it counts by.
        says_when: refusals carry a Retry-After in whole seconds.
        random: share of the requests that are refused for no reason.
        away: seconds there and back.
        refuses_after: seconds that a refusal takes.
        stalls: every so many seconds it stands still for 5 s; 0 for never.
        dead: why no request is accepted: ``refused``, ``silent`` or ``503``.
        dead_at: when that is so.
    """

    at_once: Varying = UNBOUNDED
    queue: float = 0.0
    works: Callable[[Random], float] = FIFTY_MS
    slower: Varying = UNCHANGED
    quota: Callable[[], Quota] | None = None
    says_when: bool = False
    random: float = 0.0
    away: float = 0.0
    refuses_after: float = 0.001
    stalls: float = 0.0
    dead: str = ""
    dead_at: Callable[[float], bool] = lambda _now: True
    _counted: Quota | None = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.quota and self.quota(), True)
    )
    _busy: int = 0
    _waiting: deque[Callable[[], None]] = attrs.field(init=False, factory=deque)

    def ask(self, world: World, dice: Random, answer: Answer) -> None:
        """Take a request in; ``answer`` is called once its answer is back."""
        world.at(world.now + self.away / 2, lambda: self._arrive(world, dice, answer))

    def _arrive(self, world: World, dice: Random, answer: Answer) -> None:
        if self.dead and self.dead_at(world.now):
            failed, after = self.dead != "503", 30.0 if self.dead == "silent" else 0.001
            world.at(world.now + after, lambda: answer(refused=True, failed=failed))
            return
        wait = 0.5 if dice.random() < self.random else self._counted.wait(world.now) if self._counted else 0.0
        room = self._busy < self.at_once(world.now)
        if wait or not (room or len(self._waiting) < self.queue):
            says = max(1.0, math.ceil(wait)) if self.says_when else 0.0
            when = world.now + self.refuses_after + self.away / 2
            world.at(when, lambda: answer(refused=True, retry_after=says))
        elif room:
            self._work(world, dice, answer)
        else:
            self._waiting.append(lambda: self._work(world, dice, answer))

    def _work(self, world: World, dice: Random, answer: Answer) -> None:
        self._busy += 1
        ends = world.now + self.works(dice) * self.slower(world.now)
        if self.stalls and ends > self.stalls and ends % self.stalls < 5:
            ends += 5 - ends % self.stalls

        def done() -> None:
            self._busy -= 1
            while self._waiting and self._busy < self.at_once(world.now):
                self._waiting.popleft()()
            world.at(world.now + self.away / 2, lambda: answer(refused=False))

        world.at(ends, done)


class Policy(Protocol):
    """When a client sends: what the pace does, and what others do."""

    in_flight: int

    def start(self, now: float) -> float | None:
        """Go, or wait so many seconds."""

    def on_result(
        self, now: float, latency: float, crowd: int, *, refused: bool, failed: bool = False, retry_after: float = 0.0
    ) -> None:
        """What came back."""


@attrs.define(eq=False)
class Client:
    """Asks its policy, sends, and tells it what came back. What was refused is sent again.

    Attributes:
        calls: when calls come; ``None`` for rows without end.
        log: when each answer came, and whether it was a refusal.
        waits: how long each call waited until it went out and was accepted.
    """

    world: World
    host: Host
    policy: Policy
    dice: Random
    calls: deque[float] | None = None
    log: list[tuple[float, bool]] = attrs.field(factory=list)
    waits: list[float] = attrs.field(factory=list)
    _wakes: float = math.inf

    def pump(self) -> None:
        """Send all that may go now."""
        now = self.world.now
        while self.calls is None or (self.calls and self.calls[0] <= now):
            wait = self.policy.start(now)
            if wait is None:
                self._send(now)
            else:
                self._wake(now + wait)
                return
        if self.calls:
            self._wake(self.calls[0])

    def _wake(self, when: float) -> None:
        if when < math.inf and not self.world.now < self._wakes <= when:
            self._wakes = when + self.dice.uniform(0, 0.002)  # as late as a loop is
            self.world.at(self._wakes, self._awake)

    def _awake(self) -> None:
        if self.world.now == self._wakes:  # else an earlier time was set since
            self.pump()

    def _send(self, now: float) -> None:
        crowd = self.policy.in_flight
        came = self.calls.popleft() if self.calls else now

        def answer(*, refused: bool, failed: bool = False, retry_after: float = 0.0) -> None:
            then = self.world.now
            self.log.append((then, refused))
            if self.calls is not None and refused:
                self.calls.appendleft(came)
            elif self.calls is not None:
                self.waits.append(now - came)
            self.policy.on_result(then, then - now, crowd, refused=refused, failed=failed, retry_after=retry_after)
            self.pump()

        self.host.ask(self.world, self.dice, answer)
