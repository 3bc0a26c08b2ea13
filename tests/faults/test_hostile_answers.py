"""Answers that no honest server gives: a typed error in time, no false success, and the next call works."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random

import pytest

from enkash_coins import (
    AllocationReceipt,
    CoinEventConfig,
    CoinEventService,
    ConnectError,
    Disconnected,
    EnkashError,
    InvalidRequest,
    MalformedResponse,
    OperationFailed,
    ServiceClosed,
)
from enkash_coins.service import ConnectOptions
from tests.faults.cases import Cases, is_full
from tests.faults.hostile import CHUNKED, GZIP, Hostile, chunk, head, named
from tests.faults.watch import PLANTED, Watch
from tests.faults.witness import packed, readings
from tests.wire.calls import CALLS, ONE_TRY, WRITES
from tests.wire.leaks import grant
from tests.wire.server import PAYLOADS, Peer, Server, Step, close, envelope, http, put_forward, reset, well

TAKEN = CoinEventConfig("WCC12345", "DEFAULT", "INVOICE_PAYMENT", 10)
NAMED = named()


async def outcome_of(coins: CoinEventService, call: str, server: Server) -> object:
    """The value or the error of a call, whose deadline passes when nothing more happens."""
    task = asyncio.ensure_future(CALLS[call](coins))
    seen = len(server.seen)
    while len(server.seen) == seen and not task.done():  # noqa: ASYNC110  # it may end without ever arriving
        await asyncio.sleep(0.001)
    await asyncio.wait([task], timeout=0.05)
    if not task.done():
        put_forward(30.0)
        await asyncio.wait([task], timeout=10.0)
        assert task.done(), "it outlived its deadline"
    return task.exception() or task.result()


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[tuple[Server, CoinEventService, list[Sequence[Step]]]]:
    """A server, a client with one try, and the answers that the server gives next, before it answers well again."""
    answers: list[Sequence[Step]] = []
    async with (
        Server(lambda exchange: answers.pop() if answers else well(exchange)) as server,
        CoinEventService.connect(server.url, **(PLANTED | ConnectOptions(retry=ONE_TRY))) as coins,
    ):
        yield server, coins, answers


async def face(case: Hostile, end: Sequence[Step], watch: Watch) -> None:
    """One hostile answer, and a good one on the same client."""
    async with scene() as (server, coins, answers):
        answers.append((*case.steps, *end))
        outcome = await outcome_of(coins, case.call, server)
        if isinstance(outcome, EnkashError):
            assert not isinstance(outcome, InvalidRequest | ServiceClosed)
            assert outcome.maybe_applied == (case.call in WRITES and not case.definite)
            watch.look(outcome)
        else:
            assert (case.readable, outcome) == (True, TAKEN)
        assert await coins.balance("EK1") == 1250, "the next call"
        assert len(server.seen) == 2


@pytest.mark.parametrize("end", [[close], []], ids=["closed", "kept open"])
@pytest.mark.parametrize("block", range(8))
def test_named_hostile_answers(block: int, end: Sequence[Step], tally: Counter[str], watch: Watch) -> None:
    """A typed error, in doubt if it was a write; a success only for what still says so; the next call works."""
    for name, case in list(NAMED.items())[block::8]:
        try:
            asyncio.run(face(case, end, watch), debug=is_full())
        except BaseException as error:
            error.add_note(name)
            raise
        tally["named hostile answers"] += 1


# The ways in which an answer may say where it ends.
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "length": lambda body: http(200, body),
    "chunks": lambda body: head(CHUNKED) + chunk(body[:40]) + chunk(body[40:]) + b"0\r\n\r\n",
    "gzip": lambda body: http(200, packed(body), [GZIP]),
    "to the end": lambda body: head() + body,
}
CUT = [("update", form) for form in FORMS] + [(call, "length") for call in ("get", "create", "allocate", "balance")]
CUT_IN_FULL = [(call, form) for call in CALLS for form in FORMS if (call, form) not in CUT]


def good(call: str, form: str) -> bytes:
    """The documented answer."""
    return FORMS[form](envelope(PAYLOADS[call.partition(",")[0]]))


@pytest.mark.parametrize(("call", "form"), CUT + (CUT_IN_FULL if is_full() else []))
async def test_an_answer_cut_at_every_byte(call: str, form: str, tally: Counter[str], watch: Watch) -> None:
    """Whatever is missing, it is no success; a write is in doubt, and the next call gets its own answer."""
    answer = good(call, form)
    async with scene() as (server, coins, answers):
        for cut in range(len(answer)):
            answers.append([answer[:cut], reset if cut % 2 else close])
            outcome = await outcome_of(coins, call, server)
            assert isinstance(outcome, Disconnected | MalformedResponse), (cut, outcome)
            assert outcome.maybe_applied == (call in WRITES), cut
            watch.look(outcome)
            assert await coins.balance("EK1") == 1250, cut
            tally["answers cut short"] += 1
        answers.append([answer, close])
        assert not isinstance(await outcome_of(coins, call, server), EnkashError)


async def test_a_login_answer_cut_at_every_byte(tally: Counter[str], watch: Watch) -> None:
    """A login that is cut short is no login: nothing else is sent, and nothing is in doubt."""
    whole = b'{"access_token":"token-of-the-server","token_type":"bearer","expires_in":86399}'
    answer, answers = http(200, whole), list[Sequence[Step]]()
    async with Server(lambda exchange: answers.pop() if answers else well(exchange)) as server:
        for cut in range(len(answer)):
            server.seen.clear()
            answers[:] = [[answer[:cut], close]] * 2
            async with CoinEventService.connect(server.url, auth=grant(), retry=ONE_TRY) as coins:
                outcome = await outcome_of(coins, "allocate", server)
            assert isinstance(outcome, Disconnected | MalformedResponse), (cut, outcome)
            assert (outcome.maybe_applied, server.calls) == (False, {"token": 1}), cut
            watch.look(outcome)
            tally["answers cut short"] += 1


def flipped(answer: bytes, dice: Random) -> bytes:
    """The answer with one to three of its bits turned over."""
    damaged = bytearray(answer)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def told(value: object) -> object:
    """A value of the package, as the witness says it."""
    match value:
        case CoinEventConfig(id_, configuration, event, amount):
            return {"coinConfigId": id_, "configuration": configuration, "event": event, "amount": amount}
        case AllocationReceipt(message=message):
            return message
    return value


@pytest.mark.parametrize("block", range(8))
async def test_flipped_bits(block: int, cases: Cases, tally: Counter[str], watch: Watch) -> None:
    """Nothing but a typed error, or the success that the damaged bytes still state by an independent reading. A digit
    of an amount that became another digit is beyond any client: TLS keeps that out, and the tally counts it.
    """
    async with scene() as (server, coins, answers):
        for _, dice in cases(short=300, full=5000):
            call = dice.choice(list(CALLS))
            answer = good(call, dice.choice(list(FORMS)))
            damaged = flipped(answer, dice)
            answers.append([damaged, close] if dice.random() < 0.9 else [damaged])
            outcome = await outcome_of(coins, call, server)
            tally["answers with flipped bits"] += 1
            if isinstance(outcome, EnkashError):
                assert not isinstance(outcome, InvalidRequest | ServiceClosed | ConnectError)
                status = getattr(outcome, "status", None) or 200
                definite = isinstance(outcome, OperationFailed) or (300 <= status < 500 and status != 408)
                assert outcome.maybe_applied == (call in WRITES and not definite), (damaged, outcome)
                watch.look(outcome)
            else:
                honest = readings(damaged, call)
                assert told(outcome) in honest, (damaged, outcome)
                unchanged = told(outcome) in readings(answer, call)
                what = (
                    "changed nothing, and were read"
                    if unchanged
                    else "no client can tell, and were taken as they stood"
                )
                tally[f"answers with flipped bits that {what}"] += 1
            answers.clear()
            assert await coins.balance("EK1") == 1250, damaged


POISON = http(200, envelope(666))


async def pause(_: Peer) -> None:
    """Let everybody else have some turns."""
    for _turn in range(10):
        await asyncio.sleep(0)


def telling(written: asyncio.Event) -> Step:
    """Say that it came to this."""

    async def step(_: Peer) -> None:
        written.set()

    return step


@pytest.mark.parametrize("later", [False, True], ids=["in one piece", "later"])
async def test_a_poisoned_connection(later: bool, cases: Cases, tally: Counter[str], watch: Watch) -> None:
    """What comes after an answer, be it another whole one, is never the answer to the next call."""
    async with scene() as (server, coins, answers):
        for _, dice in cases(short=150, full=1500):
            call = dice.choice(list(CALLS))
            cut = dice.choice((len(POISON), dice.randrange(1, len(POISON)), -1))
            extra = POISON[:cut] if cut > 0 else dice.choice((POISON * 3, b"\r\n", b"\r\n" + POISON, b"0", bytes(50)))
            answer = good(call, dice.choice(("length", "chunks", "gzip")))
            written = asyncio.Event()
            answers.append([answer, *([pause] if later else []), extra, telling(written)])
            outcome = await outcome_of(coins, call, server)
            if isinstance(outcome, EnkashError):
                watch.look(outcome)
            else:
                assert told(outcome) in readings(answer, call)
            await asyncio.wait_for(written.wait(), 10)
            await pause(server.peers[-1])  # what was written arrives before the connection is used again
            assert await coins.balance("EK1") == 1250, extra
            tally["poisoned connections"] += 1
