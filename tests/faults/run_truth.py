"""What a run's file says of its rows, and what the server did: the oracle of the simulated runs."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Final

import attrs

from enkash_coins.bulk import Record, Run, State
from enkash_coins.sandbox.world import Fields
from enkash_coins.transport import Response
from tests.faults.run_life import Foreign, Life, Session, Write
from tests.faults.run_rows import as_sent
from tests.simulator.fates import NOTHING_LEAVES

_OK: Final = (State.APPLIED, State.UNCHANGED)
_NO: Final = (State.REJECTED, State.NOT_SENT)
_OPEN: Final = (State.UNREAD, State.PLANNED, State.SENT)


@attrs.define(eq=False)
class Row:
    """A row and what left on its account.

    Attributes:
        wanted: as the API's own keys.
        only: no other row of its id wants the same.
    """

    record: Record
    wanted: Fields
    writes: list[Write]
    only: bool

    @property
    def applied(self) -> list[Write]:
        """Those that took effect."""
        return [write for write in self.writes if write.seen.applied is not None]

    def __str__(self) -> str:
        of = self.record
        sent = "; ".join(f"{write.session.what} {write.seen} {write.fate}" for write in self.writes)
        return f"row {of.number}: {of.id} {of.wanted} {of.state} late={of.late} {of.reason!r} [{sent}]"


def rows_of(life: Life, run: Run) -> list[Row]:
    """All rows of the run with the requests that this run has made for them."""
    back = "takes_back" in run.facts
    writes: dict[tuple[str, bytes], list[Write]] = {}
    for write in life.writes:
        if write.session.of_rollback is back:
            writes.setdefault((write.id, _key(write.body)), []).append(write)
    rows = []
    for record in run.records():
        wanted = as_sent(record.id, record.wanted, allocates=life.allocates)
        rows.append(Row(record, wanted, writes.get((record.id, _key(wanted)), []), only=True))
    twice = Counter((row.record.id, _key(row.wanted)) for row in rows)
    return [attrs.evolve(row, only=twice[row.record.id, _key(row.wanted)] == 1) for row in rows]


def _key(fields: Fields) -> bytes:
    return json.dumps(fields, sort_keys=True).encode()


def violations(life: Life, run: Run, *, final: bool) -> Iterator[str]:
    """Every promise that is broken, when nothing can arrive late any more.

    Args:
        final: it was applied to its end, and nothing went wrong that time.
    """
    rows = rows_of(life, run)
    yield from (f"{what}: {row}" for row in rows for what in _broken(row, life, final=final))
    if not life.allocates:
        spoilt = {foreign.id for foreign in life.foreign} | {write.id for write in life.writes if is_lie(write)}
        by_id = {
            id_: list(its)
            for id_, its in groupby(sorted(rows, key=lambda its: its.record.id), lambda its: its.record.id)
        }
        for id_ in by_id.keys() - spoilt:
            yield from _of_ours_alone(life, run, id_, by_id[id_])
        if final and "takes_back" in run.facts:
            yield from _not_taken_back(life, by_id.keys() | spoilt)
        yield from _over_others(life, run)


def _broken(row: Row, life: Life, *, final: bool) -> Iterator[str]:
    state, applied = row.record.state, row.applied
    is_open = state in _OPEN or (state is State.UNKNOWN and not life.allocates)
    if final and is_open:
        yield "unresolved"
    first = life.first.get(row.record.id, {})
    as_before = row.wanted.items() <= first.items()  # found so, or written: nobody can tell
    ours = [write.body for write in life.writes if write.id == row.record.id and write.seen.applied is not None]
    # Field by field: what another row of the id has left is as wanted as well.
    there_once = all(any(body.get(name) == value for body in (first, *ours)) for name, value in row.wanted.items())
    if state is State.APPLIED and not (row.applied if life.allocates else there_once):
        yield "lost"
    excused = as_before or _overwritten(row, life) or nobody_knows(row, life)
    if state in _NO and applied and row.only and not excused:
        yield "false no"
    if applied and row.only and not row.record.tries:  # one that cannot have taken effect may be given back
        yield "took effect, and not claimed"
    if life.allocates:
        if len([write for write in applied if not write.session.replay]) > 1:
            yield "doubled"
        if state is State.PLANNED and applied and row.record.late is None:
            yield "forgotten that it was sent"


def _overwritten(row: Row, life: Life) -> bool:
    """Whether something of an update was overwritten since: then it is as good as never applied."""
    effects = effects_on(life, row.record.id)
    last = max((at for at, effect in enumerate(effects) if effect in row.applied), default=len(effects))
    since = [effect.body if isinstance(effect, Write) else {"amount": effect.amount} for effect in effects[last + 1 :]]
    return any(name in body for body in since for name in row.wanted)


def _of_ours_alone(life: Life, run: Run, id_: str, rows: list[Row]) -> Iterator[str]:
    """A configuration that nobody else has changed: it is what the rows that were applied leave, in their order."""
    yield from (f"false drift: {row}" for row in rows if row.record.state is State.DRIFTED)
    states = {row.record.state for row in rows}
    last = life.sessions[-1]
    settled = (last.what, last.how) == ("apply", "finished") and not any(row.record.late for row in rows)
    if id_ not in life.first or not settled:  # it says so itself
        return
    there, wanted = life.server.configs[id_], dict(life.first[id_])
    if "takes_back" in run.facts:
        wanted["companyId"] = there["companyId"]
        if states <= set(_OK) and wanted != there:
            yield f"not taken back: {_told(life, id_, rows, wanted)}"
    elif states <= {*_OK, *_NO}:
        for row in rows:
            wanted |= row.wanted if row.record.state in _OK else {}
        unknowable = {
            name
            for row in rows
            if nobody_knows(row, life)
            for name in row.wanted
            if name == "companyId" or not life.reads
        }
        if any(there[name] != wanted[name] for name in there.keys() - unknowable):
            yield f"overwritten: {_told(life, id_, rows, wanted)}"


def _not_taken_back(life: Life, elsewhere: set[str]) -> Iterator[str]:
    """The run has changed it, and the rollback does not know of it."""
    for id_ in life.first.keys() - elsewhere:
        wanted = life.first[id_] | {"companyId": life.server.configs[id_]["companyId"]}
        if wanted != life.server.configs[id_]:
            rows = [row for row in rows_of(life, Run.open(life.run)) if row.record.id == id_]
            yield f"forgotten to be taken back: {_told(life, id_, rows, wanted)}"


def _told(life: Life, id_: str, rows: list[Row], wanted: Fields) -> str:
    effects = [f"{one.at:.2f} {one.body if isinstance(one, Write) else one}" for one in effects_on(life, id_)]
    return f"{life.server.configs[id_]} is not {wanted}: {'; '.join(map(str, rows))}; {effects}"


def effects_on(life: Life, id_: str) -> list[Write | Foreign]:
    """What has changed a configuration, ours and others', in the order in which it did."""
    by_seen = {id(write.seen): write for write in life.writes if write.id == id_}
    ours: list[tuple[float, Write | Foreign]] = [
        (at, by_seen[id(seen)]) for at, seen in enumerate(life.server.applied) if id(seen) in by_seen
    ]
    others: list[tuple[float, Write | Foreign]] = [
        (foreign.after - 0.5, foreign) for foreign in life.foreign if foreign.id == id_
    ]
    return [one for _, one in sorted([*ours, *others], key=lambda its: its[0])]


def _over_others(life: Life, run: Run) -> Iterator[str]:
    """Writes over what somebody else has set, though the run had to look, and could see it."""
    for session, write, foreign in over_others(life, run):
        since = life.known_since(session)
        if since is not None and since[0] < foreign.at <= since[1]:
            yield f"somebody else's change overwritten: {foreign} by {write}"


def over_others(life: Life, run: Run) -> Iterator[tuple[Session, Write, Foreign]]:
    """Writes of amounts over what somebody else had set when they were sent."""
    back = "takes_back" in run.facts
    for id_ in {foreign.id for foreign in life.foreign}:
        effects = effects_on(life, id_)
        for write in life.writes:
            if write.id != id_ or "amount" not in write.body or write.session.of_rollback is not back:
                continue
            before = [
                one
                for one in effects
                if one.at <= write.seen.sent and (isinstance(one, Foreign) or "amount" in one.body)
            ]
            if before and isinstance(before[-1], Foreign):
                yield write.session, write, before[-1]


def nobody_knows(row: Row, life: Life) -> bool:
    """Whether it was refused when an earlier attempt in doubt had set its company, which no reading shows.

    Nor does what else it set, if that was overwritten, or nobody has seen what was there before.
    """
    refused = "companyId" in row.wanted and row.record.state in _NO and bool(row.applied)
    return refused and (not life.reads or _overwritten(row, life))


def is_lie(write: Write) -> bool:
    """Whether its answer shows what was never there."""
    reply = write.fate.reply
    return isinstance(reply, Response) and b"OTHER" in reply.body


def residual(life: Life, run: Run) -> Counter[str]:
    """What the API makes impossible to prevent, or to know: counted, not hidden."""
    found: Counter[str] = Counter()
    for row in rows_of(life, run):
        state = row.record.state
        found["rows"] += 1
        if state is State.UNKNOWN:
            found["left in doubt and said so"] += 1
            found["left in doubt, and it had been applied"] += bool(row.applied)
            found["left in doubt, and nothing of it had left"] += all(
                write.fate.reply in NOTHING_LEAVES for write in row.writes
            )
        found["allocations doubled because replay=True allowed it"] += life.allocates and len(row.applied) > 1
        found["refused, though an earlier attempt in doubt had set its company: that cannot be read"] += nobody_knows(
            row, life
        )
        drifted = state is State.DRIFTED and row.record.id not in {foreign.id for foreign in life.foreign}
        lied = any(write.id == row.record.id and is_lie(write) for write in life.writes)
        found["drifted, because an answer showed what was never there"] += drifted and lied
    found["somebody else's change overwritten by a plan that was fresh, or forced"] = len(list(over_others(life, run)))
    return found
