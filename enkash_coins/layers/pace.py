"""How fast a host may be asked, learnt from its answers: slots answer latency, a send rate answers refusals."""

from math import inf

import attrs

from enkash_coins.layers.slots import Slots

HOLD, SPARED = 15.0, 100  # seconds, or requests where those take longer, until a climb passes what was found
ENOUGH = 50  # accepted requests that make a cycle certain: else who joins a busy client may keep 1 % of its share
MARGIN = 0.04  # how far below what was found a climb begins; and the share of refusals that is tolerated
EVIDENCE = 4.0  # refusals beyond that share that are a sign: heeding the first costs 93 % at 1 % of random 503s
SHORTEST, LONGEST = 0.1, 8.0  # seconds, of pauses without a Retry-After: longer ones miss a window's start
RECENT = 7.5  # seconds between the moments from which what was accepted is counted


@attrs.define(eq=False)
class Pace:
    """Says when the next request may go. No I/O, and no clock of its own: ``now`` is the loop's time in seconds.

    What is in flight cannot hold a rate (50 requests per second of 2 ms are 0.1 in flight), and a rate cannot hold a
    queue: so there are slots for hosts that queue, and a rate for hosts that count. A refusal that the slots do not
    take for theirs is counted; four more than 4 % of the answers, or one with a Retry-After, shut the gate: for the
    Retry-After, or 0.1 s, doubled while the one request that goes after it is refused. Once that is accepted, the rate
    is what the host accepted over the whole cycle since the last time, pauses included, idle time not. It then climbs
    on a cubic curve: from 4 % below, level after a hold, 4 % above after two holds, double after four.

    Attributes:
        slots: in flight at most.
        limit: requests per second at most, whatever is learnt.
    """

    slots: Slots = attrs.field(factory=Slots)
    limit: float = inf
    in_flight: int = 0
    _found: float = inf  # requests per second
    _climbed: float = 0.0  # seconds since then that it takes to send what was sent
    _hold: float = 1.0
    _next_send: float = -inf
    _last_send: float = -inf
    _idle_since: float = inf  # nothing is in flight, and nobody waits as far as we know
    _accepted: int = 0  # in this cycle
    _marks: tuple[tuple[float, int], ...] = ()  # its beginning and two later moments, with what was accepted by then
    _doubt: float = 0.0  # refusals beyond the share that is tolerated
    _opens: float = -inf
    _shut_at: float = -inf
    _half_open: bool = False  # one request goes, and all others wait for its answer
    _tries: int = 0  # of those, that were refused
    _told: bool = False  # the pause is a Retry-After
    _blamed: bool = False  # it is the rate that was too high

    def rate(self) -> float:
        """Requests per second that may go now; infinite as long as nothing was blamed on the rate."""
        return min(self.limit, self._found * (1 + MARGIN * (self._climbed / self._hold - 1) ** 3))

    def start(self, now: float) -> float | None:
        """Count one more in flight and return ``None``; or the seconds to wait, ``inf`` for the next result."""
        if now > self._idle_since:  # idle time tells nothing about the host
            self._marks = tuple((then + now - self._idle_since, count) for then, count in self._marks)
        self._idle_since = inf
        if now < self._opens:
            return self._opens - now
        if self._last_send > self._shut_at if self._half_open else self.in_flight >= int(self.slots.number):
            return inf
        wait = max(self._next_send, self._last_send + self.slots.gap(self.in_flight)) - now
        if wait > 0:
            return wait
        if not self._marks:
            self._begin_cycle(now)
        interval = 1 / self.rate()
        self._climbed += interval
        self._next_send = max(now - 0.05, self._next_send) + interval  # 50 ms of credit for late timers
        self._last_send = now
        self.in_flight += 1
        return None

    def on_result(
        self, now: float, latency: float, crowd: int, *, refused: bool, failed: bool = False, retry_after: float = 0.0
    ) -> None:
        """Learn from an answer, or from none.

        Args:
            now: when it came.
            latency: seconds since ``start`` let the request go.
            crowd: what was in flight then, itself included.
            refused: with 429, 425 or 503, or because it failed.
            failed: there was no answer. That makes for a pause, but says nothing about the rate.
            retry_after: seconds that a refusal asks for; 0 if it does not.
        """
        self.in_flight -= 1
        sent = now - latency
        if refused and sent < self._shut_at:  # known already
            self._opens = max(self._opens, now + retry_after)
        elif refused:
            self._on_refusal(now, crowd, failed=failed, retry_after=retry_after)
        else:
            self._accepted += 1
            self._doubt = max(0.0, self._doubt - MARGIN)
            self.slots.on_answer(now, latency, crowd)
            if self._half_open and sent >= self._shut_at:
                self._reopen(now)
            elif not self._half_open and now - self._marks[2][0] > RECENT:
                self._marks = (self._marks[0], self._marks[2], (now, self._accepted))
        if not self.in_flight:
            self._idle_since = max(now, self._opens)  # a pause is not idle time

    def on_cancelled(self) -> None:
        """Count one less in flight, and learn nothing."""
        self.in_flight -= 1
        self._last_send = -inf  # if it was the one that all others wait for, the next one goes

    def _on_refusal(self, now: float, crowd: int, *, failed: bool, retry_after: float) -> None:
        too_many = not (self._half_open or failed) and self.slots.on_refusal(now, crowd, retry_after)
        self._doubt += not too_many
        if retry_after or self._half_open or self._doubt > EVIDENCE:
            self._tries += self._half_open
            pause = max(SHORTEST, 1 / self._found) * 2 ** min(self._tries, 9)
            self._opens = now + (retry_after or min(LONGEST, pause))
            self._shut_at, self._half_open, self._told = now, True, retry_after > 0
            self._blamed |= not (too_many or failed)

    def _reopen(self, now: float) -> None:
        if self._blamed:
            # Over the whole cycle, which is right for windows, or over its last 7 to 15 s, which is after a climb.
            found = max((self._accepted - before) / (now - then) for then, before in self._marks[:2])
            lasted = now - self._marks[0][0] if found > self._found / 2 else 0.0
            if self._found < inf:  # whole seconds of a Retry-After are coarse
                found = max(found, (found + self.rate()) / 2 if self._told else self._found / 2)
            lasted *= min(1.0, self._accepted / ENOUGH)
            self._hold = min(max(1.0, lasted), max(HOLD, SPARED / found))  # what a short cycle has found is doubtful
            self._found = found
            self._begin_cycle(now)
        self._half_open = self._blamed = False
        self._tries = 0

    def _begin_cycle(self, now: float) -> None:
        self._next_send = now
        self._marks = ((now, 0),) * 3
        self._accepted = self.slots.proven = 0
        self._climbed = self._doubt = 0.0
