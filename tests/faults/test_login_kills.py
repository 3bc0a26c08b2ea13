"""Processes that share a login guard and are killed at random instants: what the token endpoint saw of them."""

import asyncio
import json
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from enkash_coins import FileGuard, PasswordGrant
from enkash_coins.auth.guard import History
from tests.faults.cases import Cases

PROGRAM: Final = Path(__file__).with_name("login_processes.py")
ANSWERS: Final[dict[str, bytes | None]] = {
    "accepted": b'HTTP/1.1 200 OK\r\n\r\n{"access_token":"a-token","expires_in":600}',
    "refused": b'HTTP/1.1 400 Bad Request\r\n\r\n{"error":"invalid_grant"}',
    "502": b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    "unreadable": b"HTTP/1.1 200 OK\r\n\r\n<html>",
    "cut off": b"",
    "never": None,
    "429": b"HTTP/1.1 429 Too Many Requests\r\n\r\n",
}
BALANCE: Final = b'HTTP/1.1 200 OK\r\n\r\n{"payload":5,"response_code":0,"response_message":""}'


class Account:
    """The token endpoint of one account, on a real socket: it gives the answer that is set, and counts what arrives."""

    def __init__(self) -> None:
        self.answer = ""
        self.seconds = 0.0  # until it is given
        self.arrived = 0  # token requests, whole
        self._open: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with one request."""
        self._open.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # whoever asked was killed
            answer = await self._asked(reader)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()
        self._open.discard(asyncio.current_task())

    async def _asked(self, reader: asyncio.StreamReader) -> bytes | None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"POST /oauth/token "):
            return BALANCE
        _, _, length = head.lower().partition(b"content-length:")
        await reader.readexactly(int(length.split()[0]))
        self.arrived += 1
        await asyncio.sleep(self.seconds)
        return ANSWERS[self.answer]

    async def all_read(self) -> None:
        """Until nothing of processes that are gone can arrive any more."""
        for _turn in range(20):
            await asyncio.sleep(0)  # for what waits to be accepted
        async with asyncio.timeout(10):
            while self._open:  # noqa: ASYNC110  # a connection sets no event here
                await asyncio.sleep(0.001)


class Processes:
    """An account's life, moment by moment: several processes log in at once, and most of them are killed."""

    def __init__(self, account: Account, program: asyncio.subprocess.Process, path: Path) -> None:
        self.now = 1000.0
        self._account, self._program, self._path = account, program, path
        self._guard = FileGuard(path)
        self._grant = PasswordGrant("client", "client-secret", "user", "password", guard=self._guard)
        self._failures: list[float] = []  # in a row, as the endpoint sees them: when each arrived

    async def meet(self, answer: str, kills: list[float | None]) -> list[str]:
        """How each process ended; raises if more got out than the contract lets out, or less although none was killed.

        Args:
            kills: one for each process: after how many seconds; ``None`` lets it end.
        """
        before = await self._known()
        self._account.answer, self._account.arrived = answer, 0
        ends = await self._ended(kills, 1.0 if answer == "never" else 20.0)
        await self._account.all_read()
        arrived, after = self._account.arrived, await self._known()
        if answer == "accepted" and arrived:
            self._failures.clear()
        elif answer != "429":
            self._failures += [self.now] * arrived
        told = f"{before}; at {self.now} {arrived} requests, {answer}; {ends}; {after}"
        allowed = self._allowed(before, answer, ends)
        assert arrived == allowed or ("killed" in ends and arrived < allowed), told
        assert len(self._failures) <= after.failures, f"sent without having been counted: {told}"
        # Two failures in a row, and then one a minute if they have worked: told from what arrived alone.
        later = zip(self._failures[1:], self._failures[2:], strict=False)
        assert all(before.worked and last + 60 <= next_ for last, next_ in later), told
        assert after.refused or not (before.refused or "LoginRefused" in ends), told
        assert before.refused or answer == "refused" or not after.refused, told
        return ends

    async def _ended(self, kills: list[float | None], timeout: float) -> list[str]:  # noqa: ASYNC109  # the clients'
        order = {"guard": str(self._path), "now": self.now, "timeout": timeout, "kills": kills}
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(order).encode() + b"\n")
        ends: list[str] = json.loads(await asyncio.wait_for(self._program.stdout.readline(), 60))
        return ends

    async def _known(self) -> History:
        """What the file knows of the account."""
        async with self._guard.hold(self._grant._credentials) as record:
            return next(iter(record.histories.values()), History())

    def _allowed(self, history: History, answer: str, ends: list[str]) -> int:
        left = max(0, 2 - history.failures)
        if history.worked and not left and (history.unclear_at is None or history.unclear_at + 60 <= self.now):
            left = 1
        if history.refused or not left:
            return 0
        if answer in ("accepted", "429"):  # neither uses up what is left
            return len(ends)
        # A refusal is known to all, unless who got it was killed before it wrote it down.
        return 1 if answer == "refused" and "killed" not in ends else min(len(ends), left)


@pytest.mark.parametrize("proven", [False, True], ids=["never proven", "proven"])
async def test_processes_that_are_killed(*, proven: bool, tmp_path: Path, cases: Cases, tally: Counter[str]) -> None:
    """However many processes share a file, whatever they are answered, and at whatever instants they are killed: two
    failed logins in all, for credentials that have worked another one a minute later, and none after a refusal.
    """
    account = Account()
    async with await asyncio.start_server(account.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        command = (sys.executable, "-P", "-W", "error", str(PROGRAM), f"http://127.0.0.1:{port}")
        pipe = asyncio.subprocess.PIPE
        program = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=tmp_path)
        try:
            for case, dice in cases(short=3, full=40):
                life = Processes(account, program, tmp_path / f"guard-{case}.json")
                if proven:
                    assert await life.meet("accepted", [None]) == ["fine"]
                for _ in range(6 if proven else 3):
                    life.now += dice.choice((0.0, 59.5, 60.0, 90.0))
                    account.seconds = dice.uniform(0.0, 0.3)
                    spared = 1.0 if dice.random() < 0.2 else 0.2
                    kills = [
                        None if dice.random() < spared else dice.uniform(0.001, 0.4) for _ in range(dice.randint(2, 4))
                    ]
                    answer = dice.choice([answer for answer in ANSWERS if proven or answer != "accepted"])
                    ends = await life.meet(answer, kills)
                    tally["logins: processes killed"] += ends.count("killed")
                    if answer != "refused":  # of those who say so, all but one may have read it in the file
                        heard = sum(end in ("fine", "in doubt", "RateLimited") for end in ends)
                        tally["logins: processes killed after their login had left"] += max(0, account.arrived - heard)
                    tally["logins: processes that came to their end"] += len(ends) - ends.count("killed")
                    tally["logins: token requests that arrived"] += account.arrived
        finally:
            program.kill()
            await program.communicate()
