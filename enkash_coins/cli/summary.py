"""What became of all rows, for people."""

import time
from typing import Final

import attrs
from rich.console import Console
from rich.text import Text

from enkash_coins.bulk.application import Application, UpdateOutcome
from enkash_coins.bulk.rows import Row
from enkash_coins.bulk.source import BadFile
from enkash_coins.cli.exits import explained
from enkash_coins.errors import EnkashError
from enkash_coins.models import OutcomeStatus

_REASONS = 10
_EXAMPLES = 5
_COLOURS: Final = {OutcomeStatus.APPLIED: "green", OutcomeStatus.NOT_SENT: "yellow"}


@attrs.define
class _Group:
    """Rows that ended alike."""

    count: int = 0
    examples: list[str] = attrs.field(factory=list)


class Summary:
    """Gathers outcomes by status and reason; some examples of each."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._groups: dict[tuple[OutcomeStatus, str], _Group] = {}
        self._late = 0
        self._repeated = 0

    def add(self, row: Row, outcome: UpdateOutcome) -> None:
        """Take one outcome into account."""
        if outcome.ok:
            self._repeated += outcome.attempts > 1
            self._late += outcome.late_risk
        reason = str(outcome.error or "")
        if len(self._groups) >= _REASONS and (outcome.status, reason) not in self._groups:
            reason = "for other reasons"
        group = self._groups.setdefault((outcome.status, reason), _Group())
        group.count += 1
        if not outcome.ok and len(group.examples) < _EXAMPLES:
            group.examples.append(f"line {row.line} {row.update.coin_config_id}")

    def show(self, application: Application, console: Console) -> None:
        """Print it."""
        why = application.ended_by
        if why is not None:
            console.print(f"Ended early: {explained(why) if isinstance(why, EnkashError) else why}", style="bold red")
        seconds = time.monotonic() - self._began
        console.print(f"{application.done:,} of {application.rows.count:,} rows in {seconds:.1f} s", style="bold")
        width = max((len(f"{group.count:,}") for group in self._groups.values()), default=0)
        for (status, reason), group in sorted(self._groups.items(), key=lambda item: -item[1].count):
            if status is OutcomeStatus.APPLIED and self._repeated:
                reason = f"{self._repeated:,} of them not at the first try"  # noqa: PLW2901  # it had none
            console.print(
                Text.assemble(
                    f"  {group.count:>{width},} ", (status, _COLOURS.get(status, "red")), f"  {reason}".rstrip()
                )
            )
            if group.examples:
                more = " · …" if group.count > len(group.examples) else ""
                console.print(f"  {'':{width}} {' · '.join(group.examples)}{more}", style="dim")
        if self._late:
            console.print(
                f"{self._late:,} of the applied had an earlier try without a clear answer: it could still arrive, and"
                " undo a later change"
            )
        if isinstance(why, BadFile):
            left = application.rows.count - application.done
            console.print(f"{left:,} rows were not sent, and are not among those to apply again", style="bold red")
