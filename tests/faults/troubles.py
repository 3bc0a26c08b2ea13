"""Every fault that the retry table of the contract knows, as fates on the modelled wire."""

import json
from collections.abc import Callable
from random import Random
from typing import Final

from enkash_coins.transport import Response
from tests.simulator.fates import (
    CUT_AFTER,
    CUT_BEFORE,
    GARBLED,
    NO_CONNECTION,
    SILENT_AFTER,
    SILENT_BEFORE,
    Fate,
    Lost,
    answered,
)

TIMEOUT: Final = 5.0  # of every client here, in virtual seconds
LONGEST_DELAY: Final = 60.0  # a late request takes effect within so many
_PAGE: Final = {"Content-Type": "text/html"}
OTHER: Final = -1  # no call ever asks for this amount
_OTHER: Final = {"coinConfigId": "WCC00001", "configuration": "DEFAULT", "event": "OTHER", "amount": OTHER}
_NO: Final = {"payload": None, "response_code": 1, "response_message": "Insufficient balance"}


def _json(body: object) -> Response:
    return Response(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _late(dice: Random) -> float:
    """Later than any client waits for one answer."""
    return dice.uniform(TIMEOUT + 1, LONGEST_DELAY)


def _failing(status: int) -> Fate:
    """The API carries it out, and the answer is lost behind an error page."""
    return Fate(reply=Response(status, _PAGE, b"<html>"))


def _failing_early(status: int, dice: Random) -> Fate:
    """A proxy gives up; the API behind it carries the request out all the same, later."""
    return Fate(after=_late(dice), reply=Response(status, _PAGE, b"<html>"), early=True)


TROUBLES: Final[dict[str, Callable[[Random], Fate]]] = {
    # nothing was sent
    "no connection": lambda _: NO_CONNECTION,
    "no connection in time": lambda _: Fate(effect=False, reply=Lost.NO_CONNECTION_IN_TIME),
    "no TLS": lambda _: Fate(effect=False, reply=Lost.NO_TLS),
    # come back later
    "429": lambda _: answered(429),
    "429 with Retry-After": lambda dice: answered(429, str(dice.randint(0, 3))),
    "429 for too long": lambda _: answered(429, "61"),  # longer than any client here waits
    "429 with nonsense": lambda _: answered(429, "-5"),
    "425": lambda dice: answered(425, str(dice.randint(0, 3))),
    "401": lambda _: answered(401),
    # in doubt, without effect
    "cut before": lambda _: CUT_BEFORE,
    "silent before": lambda _: SILENT_BEFORE,
    "408 before": lambda _: answered(408),
    "500 before": lambda _: answered(500),
    "503 with Retry-After": lambda dice: answered(503, str(dice.randint(0, 3))),
    "garbled before": lambda _: Fate(effect=False, reply=GARBLED.reply),
    "status 999 before": lambda _: answered(999),
    # in doubt, with effect
    "cut after": lambda _: CUT_AFTER,
    "silent after": lambda _: SILENT_AFTER,
    "408 after": lambda _: _failing(408),
    "502 after": lambda _: _failing(502),
    "garbled after": lambda _: GARBLED,
    "status 999 after": lambda _: _failing(999),
    # in doubt, and applied late
    "answered late": lambda dice: Fate(after=_late(dice)),
    "cut and late": lambda dice: Fate(after=_late(dice), reply=Lost.DISCONNECT),
    "silent and late": lambda dice: Fate(after=_late(dice), reply=Lost.SILENCE),
    "504 and late": lambda dice: _failing_early(504, dice),
    "408 and late": lambda dice: _failing_early(408, dice),
    "garbled and late": lambda dice: Fate(after=_late(dice), reply=GARBLED.reply, early=True),
    # a definite no
    "302": lambda _: answered(302),
    "400": lambda _: answered(400),
    "403": lambda _: answered(403),
    "404": lambda _: answered(404),
    "409": lambda _: answered(409),
    "412": lambda _: answered(412),
    "422": lambda _: answered(422),
    "418": lambda _: answered(418),
    "a no in the envelope": lambda _: Fate(effect=False, reply=_json(_NO)),
    # a success that is none, as far as its values show
    "other values before": lambda _: Fate(effect=False, reply=_json({"payload": _OTHER, "response_code": 0})),
    "other values after": lambda _: Fate(reply=_json({"payload": _OTHER, "response_code": 0})),
    # nothing wrong but the time
    "slow": lambda dice: Fate(after=dice.uniform(0.1, TIMEOUT - 1)),
}
# It shuts the gate of the whole client for a minute, in which nothing else can go wrong.
RARE: Final = "429 for too long"
# A login that is refused ends everything that follows: these leave it in doubt at most.
OF_LOGINS: Final = ("no connection", "429 with Retry-After", "cut before", "silent before", "502 after", "slow")
