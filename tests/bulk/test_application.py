import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from enkash_coins import (
    CoinEventService,
    ConnectError,
    Disconnected,
    LoginRefused,
    LoginSuspended,
    OutcomeStatus,
    Request,
    Response,
    RetryPolicy,
)
from enkash_coins.bulk.application import Application, UpdateOutcome
from enkash_coins.bulk.not_applied import NotApplied
from enkash_coins.bulk.rows import Row, UpdateFile
from enkash_coins.bulk.source import ChangedFile, Source
from enkash_coins.testing import MockTransport, answer

ONCE = RetryPolicy(attempts=1)


def applied(request: Request) -> Response:
    """A success that shows what was asked for."""
    name = request.path.rpartition("/")[2]
    return answer({"coinConfigId": name, "configuration": "DEFAULT", "event": "E", "amount": amount(request)})


def amount(request: Request) -> int:
    """What a request asks for."""
    return int(json.loads(request.body)["amount"])


class Run:
    """A file of rows, and how it is applied."""

    def __init__(self, folder: Path, stack: ExitStack, names: str) -> None:
        self.path = folder / "u.csv"
        lines = [f"{name},{number}\n" for number, name in enumerate(names)]
        self.path.write_text("coin_config_id,amount\n" + "".join(lines), encoding="utf-8")
        rows = UpdateFile(stack.enter_context(Source(str(self.path))))
        self.rest = stack.enter_context(NotApplied(rows))
        self.ends: list[tuple[int, OutcomeStatus]] = []
        self.application = Application(rows, self.rest, told=self._told, grace=0.02)

    def _told(self, row: Row, outcome: UpdateOutcome) -> None:
        assert isinstance(row.update.amount, int)
        self.ends.append((row.update.amount, outcome.status))

    async def __call__(self, handler: Callable[[Request], object], *, width: int = 2) -> MockTransport:
        transport = MockTransport(handler)  # type: ignore[arg-type]  # tests' handlers answer one way or another
        async with CoinEventService(transport, retry=ONCE, concurrency=width) as coins:
            await self.application.run(coins)
        return transport

    def kept(self) -> list[tuple[int, str]]:
        """Amount and outcome of the rows in the file of those not applied."""
        if self.rest.path is None:
            return []
        lines = self.rest.path.read_text(encoding="utf-8").splitlines()[1:]
        return [(int(line.split(",")[1]), line.split(",")[2]) for line in lines]


Maker = Callable[[str], Run]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Maker]:
    """Makes a run over rows of the given one-letter ids; their amounts count them from 0."""
    with ExitStack() as stack:
        yield lambda names: Run(tmp_path, stack, names)


async def test_all_rows_are_applied_and_told(run: Maker) -> None:
    """Every row is sent once and told once, and nothing is left over."""
    it = run("ABCABC")
    transport = await it(applied)
    assert sorted(map(amount, transport.requests)) == list(range(6))
    assert sorted(it.ends) == [(number, OutcomeStatus.APPLIED) for number in range(6)]
    assert it.application.ok == it.application.done == 6
    assert (it.rest.path, it.application.ended_by, it.application.stopped) == (None, None, False)


async def test_applying_the_rest_again_ends_where_the_whole_file_would(run: Maker, tmp_path: Path) -> None:
    """Rows of an id that failed once are all repeated in order, so that the last value of the file wins in the end."""
    held: dict[str, int] = {}
    broken = {1, 3}

    def handler(request: Request) -> Response:
        if amount(request) in broken:
            return answer(None, status=422, code=1)
        held[request.path[-1]] = amount(request)
        return applied(request)

    it = run("ABABABCC")
    await it(handler)
    assert it.kept() == [(1, "rejected"), (3, "rejected"), (5, "applied")]
    broken.clear()
    assert it.rest.path is not None
    with Source(str(it.rest.path)) as source, NotApplied(rows := UpdateFile(source)) as rest:
        async with CoinEventService(MockTransport(handler), retry=ONCE) as coins:
            await Application(rows, rest).run(coins)
    assert rest.path is None
    assert held == {"A": 4, "B": 5, "C": 7}


async def test_refused_login_ends_it_and_keeps_all_rows(run: Maker) -> None:
    """After a refused login no row is sent, and all of them are kept as not sent."""
    it = run("ABCDEFGH" * 10)
    transport = await it(lambda _: LoginRefused("no"))
    assert len(transport.requests) <= 4
    assert isinstance(it.application.ended_by, LoginRefused)
    assert it.application.counts == {OutcomeStatus.NOT_SENT: 80}
    assert sorted(it.kept()) == [(number, "not_sent") for number in range(80)]


async def test_suspended_login_ends_it(run: Maker) -> None:
    """While the guard against the account lock holds logins back, the other rows would fare no better."""
    it = run("A" * 100)
    transport = await it(lambda _: LoginSuspended("later"))
    assert len(transport.requests) <= 8
    assert isinstance(it.application.ended_by, LoginSuspended)
    assert it.application.counts == {OutcomeStatus.NOT_SENT: 100}


@pytest.mark.parametrize("failure", [ConnectError("down"), Disconnected("gone"), answer(None, status=401, code=1)])
async def test_host_that_only_fails_is_not_tried_for_ever(run: Maker, failure: object) -> None:
    """A hundred failures in a row that are the host's own end it; the rest of the file is certainly not sent."""
    it = run("ABCDEFGHIJ" * 30)
    transport = await it(lambda _: failure)
    assert 100 <= len(transport.requests) <= 108
    assert str(it.application.ended_by).startswith("100 rows in a row failed on account of the host")
    assert not it.application.host_answers
    assert it.application.done == len(it.kept()) == 300
    assert it.application.counts[OutcomeStatus.NOT_SENT] >= 192


async def test_host_that_fails_now_and_then_is_tried_on(run: Maker) -> None:
    """Failures of the host that are not all in a row do not end it, and neither do refused rows."""
    it = run("ABCDEFGHIJ" * 30)
    transport = await it(
        lambda request: ConnectError("down") if amount(request) % 90 else answer(None, status=404, code=1)
    )
    assert len(transport.requests) == 300
    assert it.application.ended_by is None
    assert it.application.host_answers


async def test_stop_lets_rows_under_way_come_to_an_end(run: Maker) -> None:
    """When it is stopped, what is under way still gets its outcome, and what was never sent is known as such."""
    it = run("ABCDEFGH" * 4)

    async def handler(request: Request) -> Response:
        if amount(request) == 5:
            it.application.stop("interrupted")
        await asyncio.sleep(0)
        return applied(request)

    transport = await it(handler)
    sent = len(transport.requests)
    assert it.application.counts == {OutcomeStatus.APPLIED: sent, OutcomeStatus.NOT_SENT: 32 - sent}
    assert it.kept() == [(number, "not_sent") for number in range(sent, 32)]
    assert it.application.ended_by == "interrupted"


@pytest.mark.parametrize("calls", [1, 2, 3])
async def test_stopped_rows_without_an_answer_are_unknown(run: Maker, calls: int) -> None:
    """What was under way and got no answer in time may have been applied: unknown, before those not sent."""
    it = run("ABCD")

    async def handler(request: Request) -> Response:
        if amount(request) == 1:
            for _ in range(calls):
                it.application.stop("interrupted")
        await asyncio.Event().wait()
        raise AssertionError

    await it(handler)
    assert it.kept() == [(0, "unknown"), (1, "unknown"), (2, "not_sent"), (3, "not_sent")]
    assert it.application.stopped
    it.application.stop("too late")  # changes nothing, and fails in no way


async def test_change_of_the_file_stops_it(run: Maker) -> None:
    """Rows of a file that was changed are not sent; those before the change have had their outcomes."""
    it = run("ABCDEFGH" * 400)

    def handler(request: Request) -> Response:
        if amount(request) == 0:
            with it.path.open("a", encoding="utf-8") as file:
                file.write("Z,1\n")
        return applied(request)

    await it(handler)
    assert isinstance(it.application.ended_by, ChangedFile)
    assert 0 < it.application.done == it.application.ok < 10


async def test_changed_file_is_not_begun(run: Maker) -> None:
    """If the file was changed before the first row, nothing is sent at all."""
    it = run("AB")
    it.path.unlink()
    sent: list[Request] = []
    with pytest.raises(ChangedFile):
        await it(sent.append)
    assert sent == []


async def test_full_disk_stops_it(run: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a row cannot be kept no more rows are sent, and the error comes out."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    it = run("AB" * 100)
    monkeypatch.setattr(it.rest, "keep", fail)
    with pytest.raises(OSError, match="No space"):
        await it(applied)
