"""What a run plans, or what became of it, for people and for machines."""

import json
import sys
from typing import Final

from rich.console import Console
from rich.text import Text

from enkash_coins.bulk import Record, Run, State
from enkash_coins.bulk.comparison import OK
from enkash_coins.bulk.files.problems import printable
from enkash_coins.bulk.kinds import UPDATES
from enkash_coins.bulk.report import explained
from enkash_coins.display import cut

_REASONS = 10
_EXAMPLES = 5
_COLOURS: Final = {
    State.APPLIED: "green",
    State.UNCHANGED: "green",
    State.PLANNED: "cyan",
    State.UNREAD: "yellow",
    State.NOT_SENT: "yellow",
}


def show_run(run: Run, *, check: bool = True, stderr: bool = False) -> None:
    """Print it.

    Args:
        check: whether each write is to be preceded by a look.
    """
    stream = sys.stderr if stderr else sys.stdout
    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=not stream.isatty())
    writes, companies, groups = run.summary(_REASONS, _EXAMPLES)
    of = f" of {counted(writes, 'configuration')}" if run.kind is UPDATES else ""
    console.print(f"{run.name}: {counted(run.counts.total(), run.kind.name)}{of}", style="bold")
    width = max((len(f"{count:,}") for _, _, count, _ in groups), default=0)
    for state, reason, count, examples in groups:
        console.print(
            Text.assemble(f"  {count:>{width},} ", (state, _COLOURS.get(state, "red")), f"  {reason}".rstrip())
        )
        if state not in OK:
            more = " · …" if count > sum(len(record.rows) for record in examples) else ""
            shown = " · ".join(described(record, reason=False) for record in examples)
            console.print(f"  {'':{width}} {shown}{more}", style="dim")
    left = run.counts.total() - sum(count for _, _, count, _ in groups)
    if left:
        console.print(f"  {left:,} for other reasons: see them with enkash-coins show {run.name} --state …")
    for line in _held(run, companies, check=check):
        console.print(line)


def _held(run: Run, companies: int, *, check: bool) -> list[str]:
    """What holds of a run, and what does not."""
    told = []
    if run.kind is not UPDATES:
        if doubt := run.counts[State.UNKNOWN]:
            ask = ", or send again with --replay" if run.kind.name == "allocation" else ""
            told.append(f"{counted(doubt, 'row')} in doubt, and held: may have been applied; ask EnKash{ask}")
        return told
    reads, checks = run.facts["reads"] == "yes", check and "unchecked" not in run.facts
    if not reads and not checks:
        told.append(
            "Neither the plan nor the writes look at what is there: nothing is unchanged, and there is no way back"
        )
    elif not reads:
        told.append("Planned without reading: what somebody else changes before it is written cannot be told")
    elif not checks:
        told.append("Written without another look: what somebody else has changed since the plan is overwritten")
    if companies:
        rows = counted(companies, "write")
        told.append(f"{rows} set company_id, which cannot be read: it is neither checked nor taken back")
    if doubt := run.counts[State.UNKNOWN]:
        told.append(f"{counted(doubt, 'row')} in doubt: may have been applied; apply the run again, and it looks")
    if by := run.facts.get("taken_back_by"):
        told.append(f"Taken back by {printable(by)}, {run.facts['taken_back']}; it is closed")
    elif finished := run.facts.get("finished"):
        told.append(f"Finished {finished}")
    return told


def described(record: Record, *, reason: bool = True) -> str:
    """Where a change stands in the file, and what it changes, or why not."""
    lines = ", ".join(map(str, record.lines[:_EXAMPLES])) + (", …" if len(record.lines) > _EXAMPLES else "")
    parts = [f"line{'s' * (len(record.lines) > 1)} {lines} {record.id or ''}".rstrip()]
    if record.state in (State.PLANNED, State.UNREAD, State.SENT, State.NOT_SENT):
        known = record.known or {}
        parts += [
            ", ".join(
                f"{name} {cut(str(known[name]))} → {value}" if name in known else f"{name} {value}"
                for name, value in record.wanted.items()
                if known.get(name) != value
            )
        ]
    if reason or record.state is State.DRIFTED:
        parts.append(explained(record))
    return "  ".join(filter(None, parts))


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_json(run: Run, states: tuple[State, ...] = tuple(State)) -> None:
    """One line for each row, then one for all, on standard output."""
    for record in run.records(states):
        facts: dict[str, object] = {
            "before": record.before or record.known,
            "found": record.found,
            "attempts": record.attempts,
        }
        facts |= {"in_doubt": record.state is State.UNKNOWN, "reason": explained(record) or None}
        for row in record.rows:
            told = {"line": row.line, run.kind.key: record.id, "status": record.state, "wanted": row.wanted}
            print(json.dumps(told | facts))
    ended_by = None if run.ended_by is None else str(run.ended_by)
    counts = {state: count for state, count in run.counts.items() if count}
    total: dict[str, object] = {"summary": counts, "rows": run.counts.total(), "run": run.name, "ended_by": ended_by}
    print(json.dumps(total | {"taken_back_by": run.facts.get("taken_back_by")}))
