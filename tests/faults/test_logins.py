"""The bound that keeps the account from being locked, in every story; see ``test_login_kills.py`` for processes."""

import asyncio
import json
import logging
from collections import Counter
from contextlib import suppress
from itertools import product
from typing import Final

import pytest

from enkash_coins import (
    ConnectError,
    EnkashError,
    MemoryGuard,
    PasswordGrant,
    Request,
    Response,
    TimedOut,
    Token,
)
from tests.faults.cases import is_full
from tests.simulator.account import Account
from tests.simulator.clock import VirtualClockLoop, run_virtual

LIFE: Final = 70  # seconds of a token; longer than the pause between doubtful logins
EVENTS: Final = ("ok", "refused", "timeout", "5xx", "not sent", "401 from the API", "expiry", "crash", "typo")
ENDS: Final = {"ok": "+", "refused": "-", "typo": "-", "timeout": "?", "5xx": "?", "crash": "?"}


class Endpoint:
    """The token endpoint, as the next event has it."""

    def __init__(self) -> None:
        self.event = ""
        self.reached = False  # by the latest login, or at least it left

    async def send(self, request: Request, /) -> Response:
        self.reached = self.event != "not sent"
        match self.event:
            case "ok":
                return Response(200, {}, json.dumps({"access_token": "a-token", "expires_in": LIFE}).encode())
            case "refused" | "typo":
                return Response(400, {}, b'{"error":"invalid_grant"}')
            case "5xx":
                return Response(502)
            case "timeout":
                raise TimedOut("no answer")
            case "not sent":
                raise ConnectError("no connection")
        await asyncio.Event().wait()  # until it crashes
        raise AssertionError

    async def aclose(self) -> None:
        """Nothing is held."""


class Life:
    """One account's story, lived by real grants on a guard that outlives them, beside what the contract says of it."""

    def __init__(self) -> None:
        self._guard = MemoryGuard()
        self._endpoint = Endpoint()
        self._grant = self._new()
        self._token: Token | None = None
        self._account = Account()

    def _new(self, password: str = "password") -> PasswordGrant:
        return PasswordGrant("client", "secret", "user", password, guard=self._guard)

    async def meet(self, event: str) -> None:
        """Let it happen; raises if more or less was let out than may be."""
        if event == "expiry":
            await asyncio.sleep(LIFE)
            return
        if event == "401 from the API":
            if self._token is not None:
                self._grant.refused(self._token)
            return
        now, password = asyncio.get_running_loop().time(), "typo" if event == "typo" else "password"
        grant = self._new(password) if event == "typo" else self._grant
        needed = grant._token is None or now >= (grant._token.expires_at or 0)
        allowed = needed and self._account.may(password, now) == "out"
        self._endpoint.event, self._endpoint.reached = event, False
        asking = asyncio.ensure_future(grant.token(self._endpoint))
        if event == "crash":
            for _turn in range(6):
                await asyncio.sleep(0)
            await self._crash(asking)
        else:
            with suppress(EnkashError):
                self._token = await asking
        if event != "not sent":
            assert self._endpoint.reached == allowed, event
            if allowed:
                self._account.met(password, ENDS[event], now)
            self._check()

    async def _crash(self, asking: "asyncio.Future[Token]") -> None:
        asking.cancel()
        doomed = [asking, *([self._grant._login] if self._grant._login else ())]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        self._grant, self._token = self._new(), None

    def _check(self) -> None:
        """What EnKash counts in a row stays below what locks the account, as far as that can be known."""
        row = self._account.in_a_row()
        worked = {who for who, what, _ in self._account.past if what == "+"}
        assert all(who in worked for who, _, _ in row[2:]), row
        for who in ("password", "typo"):
            assert [event[:2] for event in self._account.past].count((who, "-")) <= 1


@pytest.mark.parametrize("first", EVENTS)
def test_every_story_of_an_account(first: str, tally: Counter[str], caplog: pytest.LogCaptureFixture) -> None:
    """Every sequence of answers, expiries, crashes and another password lets out exactly the logins that the contract
    lets out, and credentials that never worked make no third failure in a row.
    """
    caplog.set_level(logging.CRITICAL, "enkash_coins")  # a line for each refusal would take most of the time

    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)
        for length in range(6 if is_full() else 4):
            for rest in product(EVENTS, repeat=length):
                loop.rounds_left = 1000
                life = Life()
                for event in (first, *rest):
                    await life.meet(event)
                tally["logins: stories"] += 1

    run_virtual(run())
