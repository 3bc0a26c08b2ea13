"""How many requests may be in flight, learnt from latency: what a host that queues is asked for."""

from math import exp, inf, log

import attrs

MOST = 256.0  # whatever the host takes
GAIN = (
    1.5  # slots for each request that the host works on: at 2 clients push each other up, at 1.25 noise hides a queue
)
QUEUED = 0.8  # where latency without a queue is less than this share of the latency now, that is a queue, not noise
TICK = 30.0  # seconds of the wall clock from drain to drain


@attrs.define(eq=False)
class Slots:
    """Slots that follow latency. No clock of its own: ``now`` is the loop's time in seconds.

    Every few dozen answers, their mean latency is compared with the latency known without a queue; slots become 1.5
    times what the host really works on at once, and one. So a host that queues is kept busy by a short queue, and one
    that does not slow down is climbed in steps of half as much again. On each full half minute of the wall clock all
    clients of a host that queues halve their slots for a moment, which is a drain: only together do they see the
    latency without a queue. A request refused beside more than were ever accepted lowers the ceiling, for a while.

    Attributes:
        fixed: slots that stay as they are; ``None`` to learn them.
        clock_offset: seconds by which the wall clock is ahead of the loop's.
        proven: in flight beside a request that was accepted, at most, since whoever uses this set it to 0.
    """

    fixed: int | None = None
    clock_offset: float = 0.0
    number: float = attrs.field(init=False, default=attrs.Factory(lambda self: float(self.fixed or 1), takes_self=True))
    proven: int = 0
    _ceiling: float = MOST
    _ceiling_until: float = -inf
    _unqueued: float = 0.0  # seconds of latency without a queue; 0 is not known yet
    _share: float = 1.0  # that, of the latency now
    _logs: float = 0.0  # for a geometric mean: 30 s once in forty answers change it by 17 %, an arithmetic one 16-fold
    _count: int = 0
    _since: float = 0.0  # what was sent before does not count
    _tick: float = 0.0
    _undrained: float = 0.0  # the number before the drain; 0 when there is none
    _drained: float = -inf  # when the last drain ends

    def gap(self, in_flight: int) -> float:
        """Seconds after the last request until one more goes than ever: a strict limit refuses any two at once."""
        return self._unqueued / self.number if in_flight >= max(1, self.proven) else 0.0

    def on_refusal(self, now: float, crowd: int, retry_after: float) -> bool:
        """Whether there were too many in flight, and not merely too many a second."""
        if self.fixed or crowd <= max(1, self.proven):
            return False
        self._ceiling, self._ceiling_until = (
            crowd - 1,
            now + max(15.0, 50 * retry_after),
        )  # what is dear is tried rarely
        self.number = min(self.number, self._ceiling)
        return True

    def on_answer(self, now: float, latency: float, crowd: int) -> None:
        """Learn from an answer that is no refusal: so many were in flight once its request had gone."""
        self.proven = max(self.proven, crowd)
        if self.fixed:
            return
        self._drain(now)
        if now - latency < self._since or crowd < min(int(self.number), self.proven):
            return
        self._logs += log(max(latency, 1e-6))
        self._count += 1
        if not self._undrained and self._count >= 4 + 2 * int(self.number):
            mean = exp(self._logs / self._count)
            self._unqueued = min(self._unqueued or inf, mean)
            self._share = self._unqueued / mean
            if self._share > QUEUED:
                self._unqueued += 0.1 * (mean - self._unqueued)  # with noise, the least is too little
            wanted = GAIN * self.number * self._share + 1
            self._set(wanted if self.proven >= int(self.number) else min(wanted, self.number), now)

    def _drain(self, now: float) -> None:
        """Begin a drain or end it, when it is time to."""
        last_tick, self._tick = self._tick, (now + self.clock_offset) // TICK
        if self._undrained and now >= self._drained:
            if self._count:
                self._unqueued = min(exp(self._logs / self._count), GAIN * self._unqueued)
            self._set(self._undrained, now)
            self._undrained = 0.0
        elif self._tick != last_tick and self._share < QUEUED:
            takes = max(0.5, 4 * self._unqueued / self._share)
            if self.number < 2 or now - self._drained > 20 * takes:
                self._undrained, self._drained = self.number, now + takes
                self._set(max(1.0, self.number / 2), now + 0.4 * takes)

    def _set(self, number: float, since: float) -> None:
        self.number = min(number, self._ceiling if since < self._ceiling_until else MOST)
        self._logs, self._count, self._since = 0.0, 0, since
