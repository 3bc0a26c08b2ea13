"""What a run's file says of its records, and what the server did: the oracle of the simulated runs.

It knows nothing of how a run decides. It replays the server's own history: every change of every configuration, by us
and by somebody else, and what each of our looks was answered with.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs

from enkash_coins.bulk import Record, Run, State
from enkash_coins.sandbox.world import Fields
from enkash_coins.transport import Response
from tests.faults.run_life import Asked, Change, Life, Session
from tests.faults.run_rows import MAX_CHANGE, as_sent

_OK: Final = (State.APPLIED, State.UNCHANGED)
_NO: Final = (State.REJECTED, State.NOT_SENT)
_OPEN: Final = (State.UNREAD, State.PLANNED, State.SENT)
_NEVER: Final = -1.0


@attrs.define(eq=False)
class Story:
    """A record of updates, and all that has happened to its configuration.

    Attributes:
        wanted: by the API's own keys; ``seen`` are those of them that can be read.
        changes: of the configuration, by whomever, in order; ``ours`` by this very run.
    """

    life: Life
    record: Record
    back: bool
    wanted: Fields = attrs.field(init=False)
    seen: Fields = attrs.field(init=False)
    changes: list[Change] = attrs.field(init=False)
    ours: list[Change] = attrs.field(init=False)
    reads: list[Asked] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.wanted = as_sent(self.record.wanted)
        self.seen = {name: value for name, value in self.wanted.items() if name != "companyId"}
        self.changes = [change for change in self.life.changes if change.id == self.record.id]
        self.ours = [change for change in self.changes if change.by and change.by.session.of_rollback is self.back]
        self.reads = [
            read
            for read in self.life.reads
            if read.id == self.record.id and read.seen.applied is not None and read.session.of_rollback is self.back
        ]

    def at(self, second: float, *, before: Change | None = None) -> Fields:
        """What was there at this second, in the fields that are set; or right before a change."""
        held = dict(self.life.first.get(str(self.record.id), {}))
        for change in self.changes:
            if change is before or change.at > second:
                break
            held |= change.body
        return {name: held.get(name, "") for name in self.seen}

    def images(self) -> list[Fields]:
        """All that ever was there."""
        return [self.at(_NEVER), *(self.at(change.at) for change in self.changes)]

    def meddled(self, since: float, until: float = float("inf")) -> bool:
        """Whether anybody but this run has changed it between these seconds."""
        return any(since <= change.at <= until and change not in self.ours for change in self.changes)

    def lied(self) -> bool:
        """Whether an answer to one of our writes showed what was never there."""
        return any(is_lie(write) for write in self.life.writes if write.id == self.record.id)

    def __str__(self) -> str:
        told = "; ".join(
            f"{change.at:.2f} {'ours' if change in self.ours else 'theirs'} {change.body}" for change in self.changes
        )
        mine = [one for one in self.life.writes if one.id == self.record.id]
        sent = "; ".join(f"{one.session.what} {one.seen} {one.fate}" for one in mine)
        looks = "; ".join(f"{read.seen.applied:.2f}" for read in self.reads)
        return f"{self.record}, first {self.at(_NEVER)}, changes [{told}], looks [{looks}], sent [{sent}]"


def violations(life: Life, run: Run, *, final: bool) -> Iterator[str]:
    """Every promise that is broken, when nothing can arrive late any more.

    Args:
        final: it was applied to its end, and nothing went wrong that time.
    """
    records = list(run.records())
    if life.kind != "update":
        yield from (f"{what}: {record}" for record in records for what in _broken_once(record, life))
        return
    back = bool(run.facts["takes_back"])
    stories = [Story(life, record, back) for record in records]
    yield from (f"{what}: {story}" for story in stories for what in _broken(story, life, final=final))
    yield from (f"{what}: {story}" for story in stories for what in _overwritten_unseen(story, life))
    if back and final:
        yield from _not_taken_back(life, {str(record.id) for record in records if record.state is State.DRIFTED})


def _broken_once(record: Record, life: Life) -> Iterator[str]:
    """Of allocations and creations: nothing twice, nothing denied, nothing made up."""
    name = str(record.id) if life.kind == "allocation" else str(record.wanted["event"])
    writes = [write for write in life.writes if write.id == name]
    effects = [write for write in writes if write.seen.applied is not None]
    may_be = (State.APPLIED, State.UNKNOWN, State.MISMATCHED, State.SENT)  # the last one after a crash
    if len([write for write in effects if not write.session.replay]) > 1:
        yield "doubled"
    if record.state is State.APPLIED and not effects:
        yield "made up"
    if effects and record.state not in may_be:
        yield "denied"
    if life.kind == "creation" and record.state is State.APPLIED:
        made = life.server.configs.get(str(record.id), {})
        if made.get("event") != name and not any(is_lie(write) for write in writes):
            yield "the id of what was made is lost"


def _broken(story: Story, life: Life, *, final: bool) -> Iterator[str]:
    record, state = story.record, story.record.state
    unreadable = "companyId" in story.wanted
    if final and (state in _OPEN or (state is State.UNKNOWN and not unreadable)):
        yield "left open"
    if state in _OK and story.seen not in story.images():
        yield "made up"
    if state is State.APPLIED and unreadable and not story.ours:
        yield "made up"
    if state is State.UNCHANGED and unreadable:
        yield "unchanged, though its company cannot be seen"
    # A write of ours that took effect may be denied only if somebody has set back what it had changed.
    denied = state in (*_NO, State.UNCHANGED, State.PLANNED) and not record.written
    if denied and story.ours and not story.meddled(story.ours[-1].at) and not (unreadable and not story.seen):
        yield "denied"
    if state is State.DRIFTED and not story.meddled(_NEVER) and not story.lied():
        yield "false drift"
    if final and state in _OK and not story.meddled(story.ours[-1].at if story.ours else _NEVER):
        there = {name: life.server.configs[str(record.id)][name] for name in story.seen}
        if there != story.seen:
            yield "not as wanted in the end"


def _look_before(story: Story, write: Asked) -> Asked | None:
    """The last look that was answered before this write left, by the same process."""
    looks = [
        read for read in story.reads if read.session is write.session and (read.seen.applied or 0) <= write.seen.sent
    ]
    return looks[-1] if looks else None


def _attempts(story: Story, life: Life) -> Iterator[tuple[Asked, Asked | None]]:
    """Our writes of this record, each with the look before it."""
    for write in life.writes:
        if write.id == story.record.id and write.session.of_rollback is story.back:
            yield write, _look_before(story, write)


def _overwritten_unseen(story: Story, life: Life) -> Iterator[str]:
    """Somebody else's value was there when we looked, and was overwritten without force."""
    for write, look in _attempts(story, life):
        if not write.session.check:
            continue
        if look is None:
            yield f"written without a look, at {write.seen.sent:.2f}"
            continue
        found = story.at(look.seen.applied or 0.0)
        amount, old = write.body.get("amount"), found.get("amount")
        limited = life.max_change and not story.back and not _ours_at(story, look.seen.applied or 0.0)
        if limited and isinstance(amount, int) and isinstance(old, int) and abs(amount - old) > MAX_CHANGE:
            yield f"changes an amount by too much, at {write.seen.sent:.2f}"
        if write.session.force or _forced_before(life, write.session) or story.lied():
            continue
        theirs = [change for change in story.changes if change.at <= (look.seen.applied or 0.0)]
        last = next((change for change in reversed(theirs) if "amount" in change.body), None)
        if last is None or last in story.ours or "amount" not in story.seen:
            continue
        # Known are what an earlier look has shown, of the plan or of a process that then wrote, and what we have set.
        known = [
            story.at(read.seen.applied or 0.0).get("amount") for read in story.reads if _settles(read, write, life)
        ]
        known += [change.body.get("amount") for change in story.ours]
        if story.back:
            known = [change.body.get("amount") for change in story.changes if change.by] + known
        planned = [read for read in story.reads if (read.session.what, read.session.how) == ("plan", "finished")]
        compared = story.back or planned  # a look may be refused, or lost in a crash
        if compared and found["amount"] not in (*known, story.seen["amount"]):
            yield f"somebody else's {found['amount']} overwritten, at {write.seen.sent:.2f}"


def _ours_at(story: Story, second: float) -> bool:
    return any(change.at <= second for change in story.ours)


def _settles(read: Asked, write: Asked, life: Life) -> bool:
    """Whether a look has made known what was there: that of the plan, or one that was followed by a write."""
    if read.session.what in ("plan", "rollback"):
        return True
    return any(
        other.id == read.id
        and other.session is read.session
        and (read.seen.applied or 0) <= other.seen.sent < write.seen.sent
        for other in life.writes
    )


def _forced_before(life: Life, session: Session) -> bool:
    """Whether an earlier process was to overwrite: what it had claimed when it was killed is in doubt, and seen."""
    return any(
        one.force for one in life.sessions if one.of_rollback is session.of_rollback and one.began < session.began
    )


def _not_taken_back(life: Life, drifted: set[str]) -> Iterator[str]:
    """The run has changed it, nobody else has since, and it is not as it was right before."""
    for record in Run.open(life.run).records():
        story = Story(life, record, back=False)
        if not story.ours or record.id in drifted or record.id not in life.server.configs:
            continue
        first = story.ours[0]
        look = (
            max(
                (read.seen.applied or 0.0 for read in story.reads if (read.seen.applied or 0.0) <= first.by.seen.sent),
                default=_NEVER,
            )
            if first.by
            else _NEVER
        )
        undone = [change for change in story.changes if change.by and change.by.session.of_rollback]
        theirs = [change for change in story.changes if change.by is None]
        # Nobody has seen what somebody else wrote between our look and the effect of our write, nor what came later.
        if any(look < change.at for change in theirs) or story.lied() or (record.before is None and not undone):
            continue
        target = story.at(float("inf"), before=first)
        blind = any(not one.check for one in life.sessions)  # may have overwritten what nobody has seen
        there = {name: life.server.configs[str(record.id)][name] for name in story.seen}
        if there != target and not (blind and theirs) and not (blind and not life.plan_reads):
            yield f"not taken back: {there} is not {target}: {story}"


def is_lie(write: Asked) -> bool:
    """Whether its answer shows what was never there."""
    reply = write.fate.reply
    return isinstance(reply, Response) and b"OTHER" in reply.body


def residual(life: Life, run: Run) -> Counter[str]:
    """What the API makes impossible to prevent, or to know: counted, not hidden."""
    found: Counter[str] = Counter()
    for record in run.records():
        found["records"] += 1
        found["left in doubt and said so"] += record.state is State.UNKNOWN
        if life.kind != "update":
            continue
        story = Story(life, record, bool(run.facts["takes_back"]))
        for write, look in _attempts(story, life):
            if look is not None and write.seen.applied is not None:
                since = look.seen.applied or 0.0
                between = [one for one in life.foreign if one.id == write.id and since < one.at <= write.seen.applied]
                found["written over what somebody else wrote after our look"] += bool(between)
                if between and write.fate.after == 0:
                    window = int(1000 * (write.seen.applied - since))
                    longest = "longest such window, in virtual milliseconds"
                    found[longest] = max(found[longest], window)
    return found
