"""What the client believes of every call, and what the server did with it: the oracle of the simulation."""

import json
from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

import attrs

from tests.simulator.fates import NOTHING_LEAVES, Fate, Seen


class Belief(Enum):
    """What whoever made a call was told of it."""

    NOTHING_YET = auto()
    APPLIED = auto()
    NOT_APPLIED = auto()
    IN_DOUBT = auto()
    CUT_OFF = auto()  # cancelled, or a row of a stream that was left: the log is all there is
    CRASHED = auto()  # nobody is left to be told


@attrs.define(eq=False)
class Call:
    """One call or row.

    Attributes:
        number: what it writes is marked with it, so that the server's doings can be told apart.
        client: which one makes it.
        replay: whether an allocation may be sent again in doubt.
        stream, row: which stream it is a row of, and which row; ``-1`` for a call by itself.
        ended: virtual seconds; ``None`` as long as it runs.
        requests: what left because of it, with what became of that.
        late_risk: what the outcome says; a call by itself says nothing.
        logged: whether the log says that it may have been applied.
        out_of: virtual seconds that the call was given.
    """

    number: int
    operation: str
    client: int
    began: float
    replay: bool = False
    stream: int = -1
    row: int = -1
    target: str = ""
    ended: float | None = None
    requests: list[tuple[Seen, Fate]] = attrs.field(factory=list)
    belief: Belief = Belief.NOTHING_YET
    attempts: int | None = None
    late_risk: bool = False
    logged: bool = False
    out_of: float | None = None

    @property
    def applied(self) -> list[float]:
        """When each of its requests took effect."""
        return [seen.applied for seen, _ in self.requests if seen.applied is not None]

    @property
    def left(self) -> bool:
        """Whether anything left the client."""
        return any(fate.reply not in NOTHING_LEAVES for _, fate in self.requests)

    @property
    def executed(self) -> int:
        """How often the API carried it out or refused a repetition of it."""
        return sum(seen.status in (200, 409) for seen, fate in self.requests if fate.effect)


WRITES: Final = ("update", "create", "allocate")


def number_of(seen: Seen) -> int | None:
    """The number of the call that a write belongs to; ``None`` for a read or a login."""
    if seen.operation not in WRITES:
        return None
    body = json.loads(seen.request.body)
    if seen.operation == "update":
        return int(body["amount"])
    return int(body["event" if seen.operation == "create" else "userId"][1:])


def violations(calls: dict[int, Call], applied: list[Seen], told: Counter[int]) -> Iterator[str]:
    """Every promise that was broken.

    Args:
        applied: every request that took effect, in the order in which it did.
        told: for each client, how many rows of its streams the log says may have been applied, though nobody took
            their outcomes.
    """
    for seen in applied:
        number = number_of(seen)
        if number is not None and number not in calls:
            yield f"phantom: {seen}"
    for call in calls.values():
        yield from (f"{what}: {call}" for what in _broken(call))
    cut_off = [call for call in calls.values() if call.stream >= 0 and call.belief is Belief.CUT_OFF and call.applied]
    for client, number in Counter(call.client for call in cut_off).items():
        if number > told[client]:
            yield f"silent: {number} rows of streams that were cut off took effect, the log tells of {told[client]}"
    yield from (
        f"overwritten: {older} after {newer}" for older, newer in overwritten(calls, applied) if not _told(older)
    )


def _broken(call: Call) -> Iterator[str]:  # noqa: C901  # one line for each promise
    if call.ended is None:
        yield "unresolved"
        return
    match call.belief:
        case Belief.NOTHING_YET:
            yield "unresolved"
        case Belief.APPLIED if not any(at <= call.ended for at in call.applied):
            yield "lost"
        case Belief.NOT_APPLIED if call.applied:
            yield "false no"
        case Belief.IN_DOUBT if not call.left:
            yield "needless doubt"
        case Belief.CUT_OFF if call.stream < 0 and call.applied and not call.logged:
            yield "silent"
    if call.logged and not call.left:
        yield "needless doubt in the log"
    if not (call.replay or call.operation == "update") and call.executed > 1:
        yield "doubled"
    if any(seen.sent > call.ended for seen, _ in call.requests):
        yield "sent after its end"
    if len({seen.request.body for seen, _ in call.requests}) > 1:
        yield "other bytes when sent again"
    if call.attempts is not None and call.attempts < len(call.requests):
        yield "attempts not counted"
    if call.out_of is not None and call.ended > call.began + call.out_of + 1e-6:
        yield "beyond its deadline"


def overwritten(calls: dict[int, Call], applied: list[Seen]) -> Iterator[tuple[Call, Call]]:
    """Rows of a stream that took effect after a later row of the same id, each with that."""
    by_target: dict[tuple[int, str], list[Call]] = {}
    for seen in applied:
        call = calls.get(number_of(seen) or 0)
        if call is not None and call.stream >= 0 and call.target:
            by_target.setdefault((call.stream, call.target), []).append(call)
    for rows in by_target.values():
        newest = rows[0]
        for row in rows:
            if row.row < newest.row:
                yield row, newest
            newest = max(newest, row, key=lambda its: its.row)


def _told(older: Call) -> bool:
    """Whether anybody was told that an earlier attempt of this row may still arrive."""
    return older.late_risk or older.belief in (Belief.CUT_OFF, Belief.CRASHED)


def residual(calls: dict[int, Call], applied: list[Seen]) -> Counter[str]:
    """What the API makes impossible to prevent, or to know: counted, not hidden."""
    found: Counter[str] = Counter()
    for call in calls.values():
        if call.belief is Belief.IN_DOUBT:
            found["left in doubt and said so"] += 1
            found["left in doubt, and it had been applied"] += bool(call.applied)
        elif call.belief is Belief.CUT_OFF and call.applied:
            found["cut off by the caller, and applied: only the log tells"] += 1
        elif call.belief is Belief.CRASHED and call.applied:
            found["applied, but the client had crashed"] += 1
        if call.belief is Belief.APPLIED and any(at > (call.ended or 0) for at in call.applied):
            found["success told, and an earlier attempt arrived later still"] += 1
        if call.replay and len(call.applied) > 1:
            found["allocations doubled because replay=True allowed it"] += 1
    found["an older row arrived over a newer one, and its outcome said late_risk"] = sum(
        older.late_risk for older, _ in overwritten(calls, applied)
    )
    return found
