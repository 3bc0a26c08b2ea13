"""What a run plans, or what became of it, for people and for machines."""

import json
import sys
from typing import Final

from rich.console import Console
from rich.text import Text

from enkash_coins.bulk import Record, Run, State
from enkash_coins.bulk.report import explained
from enkash_coins.bulk.rows import UPDATES
from enkash_coins.cli.exits import explained as explained_error
from enkash_coins.display import cut
from enkash_coins.errors import EnkashError

_REASONS = 10
_EXAMPLES = 5
_COLOURS: Final = {
    State.APPLIED: "green",
    State.UNCHANGED: "green",
    State.PLANNED: "cyan",
    State.UNREAD: "yellow",
    State.NOT_SENT: "yellow",
}


def show_run(run: Run) -> None:
    """Print it to standard error."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=not sys.stderr.isatty())
    why = run.ended_by
    if why is not None:
        told = explained_error(why) if isinstance(why, EnkashError) else why
        console.print(f"Ended early: {told}", style="bold red")
    numbers, groups = run.summary(_REASONS, _EXAMPLES)
    rows = counted(run.counts.total(), run.kind.name)
    of = f" of {counted(numbers['ids'], 'configuration')}" if run.kind is UPDATES else ""
    console.print(f"{run.name}: {rows}{of}", style="bold")
    width = max((len(f"{count:,}") for _, _, count, _ in groups), default=0)
    for state, reason, count, examples in groups:
        line = Text.assemble(f"  {count:>{width},} ", (state, _COLOURS.get(state, "red")), f"  {reason}".rstrip())
        console.print(line)
        if state not in (State.APPLIED, State.UNCHANGED):
            more = " · …" if count > len(examples) else ""
            shown = " · ".join(f"line {record.line} {described(record, reason=False)}" for record in examples)
            console.print(f"  {'':{width}} {shown}{more}", style="dim")
    left = run.counts.total() - sum(count for _, _, count, _ in groups)
    if left:
        console.print(f"  {left:,} for other reasons: see them with enkash-coins show {run.name} --status …")
    if not run.reads and run.kind is UPDATES:
        console.print("Planned without reading what is there: it cannot be taken back")
    if numbers["companies"] and run.kind is UPDATES:
        rows = counted(numbers["companies"], "row")
        console.print(f"{rows} set company_id, which cannot be read: it is neither checked nor taken back")
    if numbers["late"]:
        rows = counted(numbers["late"], "row")
        if run.kind is UPDATES:
            console.print(f"{rows} had a try without a clear answer that could still arrive: apply the run again")
        else:
            console.print(f"{rows} in doubt, and held: ask EnKash, or send again with --replay")


def described(record: Record, *, reason: bool = True) -> str:
    """A row and what it changes, or why not."""
    before = record.before or {}
    changed = ", ".join(
        f"{name} {cut(str(before[name]))} → {value}" if name in before else f"{name} {value}"
        for name, value in record.wanted.items()
        if before.get(name) != value
    )
    parts = [record.id]
    if record.state in (State.PLANNED, State.UNREAD, State.SENT):
        parts.append(changed)
    elif reason or record.state is State.DRIFTED:
        parts.append(explained(record))
    return "  ".join(filter(None, parts))


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_json(run: Run, states: tuple[State, ...] = tuple(State)) -> None:
    """One line for each row, then one for all, on standard output."""
    for record in run.records(states):
        row = {"line": record.line, run.kind.key: record.id, "status": record.state, "wanted": record.wanted}
        row |= {"before": record.before, "found": record.found, "attempts": record.attempts}
        row |= {"late_risk": bool(record.late), "reason": explained(record) or None}
        print(json.dumps(row))
    ended_by = None if run.ended_by is None else str(run.ended_by)
    counts = {state: count for state, count in run.counts.items() if count}
    print(json.dumps({"summary": counts, "rows": run.counts.total(), "run": str(run.path), "ended_by": ended_by}))
