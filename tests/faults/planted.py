"""Bugs of the kind that costs money or an account, one for each promise; see ``test_planted.py``."""

from pathlib import Path
from typing import Final

import attrs

SIMULATION: Final = "tests/faults/test_simulation.py"
LIVES: Final = "tests/faults/test_run_simulation.py"
CASES: Final = "tests/bulk/test_comparison.py"
RUNS: Final = "tests/bulk/test_runs.py"
REPEATS: Final = "tests/bulk/test_repeats.py"


@attrs.frozen
class Bug:
    """A small change to the package's text, and the tests that have to notice.

    Attributes:
        right: stands exactly once in the package; so that it is found again wherever a module moves.
        tests: what pytest is told to run; each must fail.
    """

    name: str
    right: str
    wrong: str
    tests: tuple[str, ...]

    def plant(self, package: Path) -> None:
        """Put it into this copy of the package."""
        (path,) = (path for path in package.rglob("*.py") if self.right in path.read_text("utf-8"))
        text = path.read_text("utf-8")
        assert text.count(self.right) == 1
        path.write_text(text.replace(self.right, self.wrong), "utf-8")


BUGS: Final = (
    Bug(
        "a new request id per retry",
        "request, body=body, sent_at=clock()",
        'request, body=body.replace(b\'"requestId":"\', b\'"requestId":"x\'), sent_at=clock()',
        (SIMULATION,),
    ),
    Bug(
        "a timeout read as rejected",
        '    """No complete answer within the time limit."""\n',
        '    """No complete answer within the time limit."""\n\n    _doubtful = False\n',
        (SIMULATION,),
    ),
    Bug(
        "a deadline read as not applied",
        "before the call's deadline\", maybe_applied=not was_harmless(cancelled))",
        "before the call's deadline\", maybe_applied=False)",
        (SIMULATION,),
    ),
    Bug(
        "an error of the server read as a no",
        "maybe_applied=status == 408 or not 200 <= status < 600 or kind is ServerError",
        "maybe_applied=status == 408 or not 200 <= status < 600",
        (SIMULATION,),
    ),
    Bug(
        'a later "no" clearing doubt',
        'doubt = doubt or (error.maybe_applied and request.method != "GET")',
        'doubt = error.maybe_applied and request.method != "GET"',
        (SIMULATION,),
    ),
    Bug(
        "an allocation sent again in doubt",
        '"allocate", replayable=replay)',
        '"allocate", replayable=True)',
        (SIMULATION,),
    ),
    Bug(
        "a creation sent again in doubt",
        '"create", replayable=False)',
        '"create", replayable=True)',
        (SIMULATION,),
    ),
    Bug(
        "per-id order dropped",
        "self._client.many(updates, endpoints.update, concurrency, _id_of)",
        "self._client.many(updates, endpoints.update, concurrency)",
        (SIMULATION,),
    ),
    Bug(
        "late_risk not told",
        "return Success(value, attempts, doubt)",
        "return Success(value, attempts, False)",
        (SIMULATION,),
    ),
    Bug(
        "a success that shows other values read as applied",
        "if wanted.amount is not UNSET and wanted.amount != found.amount:",
        "if False:",
        (SIMULATION,),
    ),
    Bug(
        "a cancelled write in doubt kept from the log",
        "harmless=not doubt and was_harmless(cancelled)",
        "harmless=not doubt",
        (SIMULATION,),
    ),
    Bug(
        "outcomes that nobody took kept from the log",
        "untaken = [outcome for outcome in self._done if outcome.status in _MAY_BE_APPLIED]",
        "untaken = list(self._done)[:0]",
        (SIMULATION,),
    ),
    Bug(
        "updates claimed after they are sent",
        "                await on_disk\n                yield ready",
        "                yield ready",
        (LIVES,),
    ),
    Bug(
        "an allocation claimed after it is sent",
        "                await asyncio.shield(self._claim([(record, None)]))\n",
        "                record.sent_at = id(self._claim([(record, None)]))\n",
        (LIVES,),
    ),
    Bug(
        "an end shown before it is durable",
        "        self._noted.append((record, was, plain))\n",
        "        self._noted.append((record, was, plain))\n        self._tell(Counter({record.state: 1}))\n",
        (LIVES,),
    ),
    Bug(
        "an allocation in doubt sent again by the next apply",
        "(State.UNKNOWN,) if replay and kind is ALLOCATIONS else ()",
        "(State.UNKNOWN,)",
        (LIVES,),
    ),
    Bug(
        "allocations claimed a page ahead",
        "_AGAIN if kind is UPDATES and not check else ()",
        "_AGAIN if kind is not UPDATES or not check else ()",
        (LIVES,),
    ),
    Bug(
        "what a killed process was sending given back by a plan",
        "            if self._ahead:\n                await",
        "            if self._work:\n                await",
        (RUNS,),
    ),
    Bug(
        "a no to a repetition read as an answer to the first time",
        "if record.written and state in (State.REJECTED, State.NOT_SENT):",
        "if state is State.PLANNED:",
        (RUNS,),
    ),
    Bug(
        "written without a look",
        "self._looks = check and kind is UPDATES",
        "self._looks = False",
        (
            LIVES,
            RUNS,
        ),
    ),
    Bug(
        "a rollback that does not look what is there",
        "yield record.line, record.id, True, target, readable(record.wanted, record.wanted | (shown or {}))",
        "yield record.line, record.id, True, target, None",
        (
            LIVES,
            RUNS,
        ),
    ),
    Bug(
        "late arrivals not waited for",
        "min(until - time.time(), self._timeout)",
        "0.0",
        (
            LIVES,
            RUNS,
        ),
    ),
    Bug(
        "a run that is taken back goes on",
        'if self.facts.get("taken_back_by") != unless:',
        "if unless:",
        (RUNS,),
    ),
    Bug(
        "a look that is never repeated for what has drifted",
        "_TO_LOOK_AT: Final = (State.UNKNOWN, State.DRIFTED, State.MISMATCHED)",
        "_TO_LOOK_AT: Final = (State.UNKNOWN, State.MISMATCHED)",
        (RUNS,),
    ),
    Bug(
        "before replaced by a repetition in doubt",
        "record.before if record.written else known",
        "known",
        (LIVES,),
    ),
    Bug(
        "a rollback to what the plan has read",
        "readable(record.wanted, record.before or {})",
        "readable(record.wanted, record.known or {})",
        (
            LIVES,
            RUNS,
        ),
    ),
    Bug(
        "max_change compared with what was planned",
        "elif state is State.PLANNED and (reason := self._refusal(record.wanted, found)):",
        "elif self._plans and state is State.PLANNED and (reason := self._refusal(record.wanted, found)):",
        (RUNS,),
    ),
    Bug(
        "the comparison: somebody else's value overwritten",
        "State.PLANNED if as_known else State.DRIFTED",
        "State.PLANNED",
        (
            CASES,
            LIVES,
        ),
    ),
    Bug(
        "the comparison: one field as known is enough",
        "as_known = all(",
        "as_known = any(",
        (CASES,),
    ),
    Bug(
        "the comparison: what is as wanted already has drifted",
        "holds(found[field], known[field]) for field in others)",
        "holds(found[field], known[field]) for field in wanted)",
        (CASES,),
    ),
    Bug(
        "the comparison: a company taken for seen",
        "[field for field in wanted if field in UNREADABLE or not holds(",
        "[field for field in wanted if field not in UNREADABLE and not holds(",
        (
            CASES,
            LIVES,
        ),
    ),
    Bug(
        "the comparison: ours taken for somebody else's",
        "return State.APPLIED if written else State.UNCHANGED",
        "return State.UNCHANGED",
        (
            CASES,
            LIVES,
        ),
    ),
    Bug(
        "the comparison: somebody else's taken for ours",
        "return State.APPLIED if written else State.UNCHANGED",
        "return State.APPLIED",
        (CASES,),
    ),
    Bug(
        "the comparison: what is gone still waited for",
        "        return State.REJECTED\n    if found is None",
        "        return State.UNKNOWN if written else State.REJECTED\n    if found is None",
        (CASES,),
    ),
    Bug(
        "the comparison: what cannot be read no longer in doubt",
        "return State.UNKNOWN if written else State.PLANNED",
        "return State.PLANNED",
        (CASES,),
    ),
    Bug(
        "the comparison: force without effect",
        "    if force or known is None:\n",
        "    if known is None:\n",
        (
            CASES,
            RUNS,
        ),
    ),
    Bug(
        "the comparison: proven untouched by what is as wanted",
        "for field in readable(wanted, wanted)) and known == found",
        "for field in readable(wanted, wanted)) or known == found",
        (CASES,),
    ),
    Bug(
        "repeats looked at only when planned",
        "            await self._refuse_repeats(work.writer)\n",
        "",
        (REPEATS,),
    ),
    Bug(
        "a neighbour that cannot be read passed over",
        '            recent.append(f"{printable(file.name)}: what it has given',
        '            older.append(f"{printable(file.name)}: what it has given',
        (REPEATS,),
    ),
    Bug(
        "a neighbour in doubt passed over",
        "(theirs.written OR theirs.state = 'sent' OR ?)",
        "(theirs.state = 'applied' OR ?)",
        (REPEATS,),
    ),
    Bug(
        "two that are applied at once do not see each other",
        "at_work=is_held(file)",
        "at_work=False",
        (REPEATS,),
    ),
    Bug(
        "a slot lost when a waiter is cancelled",
        "            pass_on()\n",
        "            pass\n",
        ("tests/timing/test_slots.py",),
    ),
    Bug(
        "retry on response_code 1",
        "return isinstance(error, RateLimited | ServerError) or error.status == 408",
        "return isinstance(error, RateLimited | ServerError) or error.status in (200, 408)",
        ("tests/core/test_retry.py", "tests/wire/test_retries.py"),
    ),
    Bug(
        "a login counted after the send",
        "                await record.save(host, begun)\n                outcome = await self._exchange(send)\n",
        "                outcome = await self._exchange(send)\n                await record.save(host, begun)\n",
        ("tests/core/test_login_limits.py",),
    ),
    Bug(
        "single flight removed",
        "if login is None or login.done() or login.get_loop() is not loop:",
        "if True:",
        ("tests/timing/test_logins.py",),
    ),
    Bug(
        "redirects followed",
        "partial(session.request, allow_redirects=False)",
        "partial(session.request, allow_redirects=True)",
        ("tests/wire/test_answers.py",),
    ),
    Bug(
        "False == 0 accepted",
        "return code if is_integer(code) else None",
        "return code if isinstance(code, int) else None",
        ("tests/core/test_answers.py",),
    ),
    Bug(
        "a request that left taken for one that did not",
        "    return body is None or body.left\n",
        "    return body is None\n",
        ("tests/wire/test_sent_or_not.py",),
    ),
)
