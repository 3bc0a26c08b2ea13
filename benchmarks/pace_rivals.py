"""What others do, for comparison: a fixed number in flight, AIMD, and the adaptive mode of botocore."""

import heapq
import math
import random
from collections import deque

import attrs


@attrs.define(eq=False)
class Fixed:
    """So many workers. One whose row was refused sleeps, longer each time, and a Retry-After holds all of them back."""

    dice: random.Random
    workers: int = 32
    in_flight: int = 0
    gate: float = 0.0
    asleep: list[tuple[float, int]] = attrs.field(factory=list)  # until when, and how often its row was refused
    awake: list[int] = attrs.field(factory=list)  # the same of rows whose worker woke up
    under_way: deque[int] = attrs.field(factory=deque)

    def start(self, now: float) -> float | None:
        """As the policy of a client."""
        if now < self.gate:
            return self.gate - now
        while self.asleep and self.asleep[0][0] <= now:
            self.awake.append(heapq.heappop(self.asleep)[1])
        if not self.awake and self.in_flight + len(self.asleep) >= self.workers:
            return self.asleep[0][0] - now if self.asleep else math.inf
        self.under_way.append(self.awake.pop() if self.awake else 0)
        self.in_flight += 1
        return None

    def on_result(
        self, now: float, _latency: float, _crowd: int, *, refused: bool, failed: bool = False, retry_after: float = 0.0
    ) -> None:
        """As the policy of a client."""
        del failed
        self.in_flight -= 1
        tries = self.under_way.popleft()  # about in order
        if refused:
            self.gate = max(self.gate, now + retry_after)
            heapq.heappush(self.asleep, (now + self.dice.uniform(0, min(20.0, 0.5 * 2**tries)), tries + 1))


@attrs.define(eq=False)
class Aimd:
    """One more in flight for each round without a refusal, half as many after one; a Retry-After shuts the gate."""

    in_flight: int = 0
    slots: float = 1.0
    halved: float = -math.inf
    gate: float = 0.0

    def start(self, now: float) -> float | None:
        """As the policy of a client."""
        if now < self.gate:
            return self.gate - now
        if self.in_flight >= int(self.slots):
            return math.inf
        self.in_flight += 1
        return None

    def on_result(
        self, now: float, latency: float, _crowd: int, *, refused: bool, failed: bool = False, retry_after: float = 0.0
    ) -> None:
        """As the policy of a client."""
        del failed
        self.in_flight -= 1
        if not refused:
            self.slots = min(256.0, self.slots + 1 / self.slots)
            return
        self.gate = max(self.gate, now + retry_after)
        if now - latency > self.halved:  # once for all that were under way together
            self.halved, self.slots = now, max(1.0, self.slots / 2)


@attrs.define(eq=False)
class Botocore(Fixed):
    """The adaptive mode of AWS's SDK for Python over 32 workers: a rate on a cubic curve, 0.7 of it at a refusal."""

    rate: float = math.inf  # until the first refusal
    measured: float = 0.0
    bin: float = 0.0  # of half a second, in which answers are counted
    counted: int = 0
    best: float = 0.0
    refused_at: float = 0.0
    tokens: float = 0.0
    at: float = 0.0

    def start(self, now: float) -> float | None:
        """As the policy of a client."""
        if self.rate < math.inf:
            self.tokens, self.at = min(max(1.0, self.rate), self.tokens + (now - self.at) * self.rate), now
            if self.tokens < 1 - 1e-9:
                return (1 - self.tokens) / self.rate
        wait = super().start(now)
        if wait is None and self.rate < math.inf:
            self.tokens -= 1
        return wait

    def on_result(
        self, now: float, latency: float, crowd: int, *, refused: bool, failed: bool = False, retry_after: float = 0.0
    ) -> None:
        """As the policy of a client."""
        del retry_after  # it does not heed it
        super().on_result(now, latency, crowd, refused=refused, failed=failed)
        self.counted += 1
        if math.floor(now * 2) / 2 > self.bin:
            span = math.floor(now * 2) / 2 - self.bin
            self.measured = 0.8 * self.counted / span + 0.2 * self.measured
            self.bin, self.counted = math.floor(now * 2) / 2, 0
        if refused:
            if self.rate == math.inf:
                self.at = now
            self.best = min(self.rate, self.measured) if self.rate < math.inf else self.measured
            self.refused_at = now
            wanted = 0.7 * self.best
        else:
            wanted = 0.4 * (now - self.refused_at - (self.best * 0.3 / 0.4) ** (1 / 3)) ** 3 + self.best
        if refused or self.rate < math.inf:
            self.rate = max(0.5, min(wanted, 2 * self.measured))
