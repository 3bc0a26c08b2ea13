"""Made-up secrets, and the search for them in all that an error or a log shows."""

import copy
import html
import json
import logging
import pickle
import traceback
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote, quote_plus

import enkash_coins
from enkash_coins import MemoryGuard, PasswordGrant

SECRETS: Final = {
    "token": "tok3n/of+the=caller",
    "server token": "tok3n.of~the_server",
    "client secret": "cli3nt-s3cret&é",
    "password": "p4ssword of the user",
    "cookie": "c00kie/of+the=caller",
    "server cookie": "c00kie.of.the.server",
    "proxy password": "pr0xy-p4ssword",
    "header": "h3ader-of-the-caller",
}
GRANT: Final = ("client-id", SECRETS["client secret"], "user@example.in", SECRETS["password"])
COOKIES: Final = {"JSESSIONID": SECRETS["cookie"]}
HEADERS: Final = {"X-Api-Key": SECRETS["header"]}
_PACKAGE: Final = Path(enkash_coins.__file__ or "").parent


def grant() -> PasswordGrant:
    """A login with the secrets."""
    return PasswordGrant(*GRANT, guard=MemoryGuard())


def _forms(secret: str) -> set[str]:
    """The secret as it is, and as it stands in forms, JSON, HTML, ``repr`` and Basic headers."""
    basic = [f"{user}:{secret}".encode() for user in ("client-id", "user")]
    plain = {secret, quote_plus(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], ascii(secret)[1:-1]}
    plain |= {html.escape(secret), html.escape(secret, quote=False)}
    return plain | {b64encode(pair).decode() for pair in basic} | {str(secret.encode())[2:-1]}


FORMS: Final = {name: _forms(secret) for name, secret in SECRETS.items()}


def leaked(text: str) -> set[str]:
    """The names of the secrets that this text shows."""
    return {name for name, forms in FORMS.items() if any(form in text for form in forms)}


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is not None and current not in seen:
            seen.append(current)
            yield current
            waiting += [current.__cause__, current.__context__]
            waiting += current.exceptions if isinstance(current, BaseExceptionGroup) else []


def _locals(trace: TracebackType | None) -> Iterator[str]:
    """What a crash reporter shows of our frames: the repr of each local variable."""
    for frame, line in traceback.walk_tb(trace):
        if _PACKAGE in Path(frame.f_code.co_filename).parents:
            for name, value in frame.f_locals.items():
                yield f"{frame.f_code.co_qualname}, line {line}: {name} = {value!r}"


def shown(error: BaseException) -> list[str]:
    """All that may be seen of an error by whoever catches, logs, reports, copies or pickles it."""
    texts = []
    for one in _chain(error):
        texts += [str(one), repr(one), repr(one.args), repr(vars(one)), *traceback.format_exception(one)]
        texts += _locals(one.__traceback__)
    if isinstance(error, enkash_coins.EnkashError):
        pickled = pickle.dumps(error)
        copies = copy.deepcopy(error), pickle.loads(pickled)  # noqa: S301  # what was pickled a line above
        for twin in copies:
            assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))
        texts += [pickled.decode("latin-1"), pickled.decode("utf-8", "replace"), *map(repr, copies)]
    return texts


def assert_no_leak(error: BaseException, logs: list[logging.LogRecord]) -> None:
    """No secret in the error, nor in any record of any logger."""
    formatter = logging.Formatter()
    records = [f"{record.name}: {formatter.format(record)} {record.args!r}" for record in logs]
    found = [f"{names}: {text[:500]}" for text in [*shown(error), *records] if (names := leaked(text))]
    assert not found, "\n".join(found)
