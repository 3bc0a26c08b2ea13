"""Bugs of the kind that costs money or an account, one for each promise; see ``test_planted.py``."""

from pathlib import Path
from typing import Final

import attrs

SIMULATION: Final = "tests/faults/test_simulation.py"


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
