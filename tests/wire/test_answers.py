"""Reading of answers: one deadline, a cap on what is decoded, no redirects."""

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from enkash_coins import CoinEventService, Disconnected, MalformedResponse, TimedOut, UnexpectedRedirect
from tests.wire.calls import CALLS, ONE_TRY, THREE_TRIES, WRITES
from tests.wire.server import CONFIG, Peer, Server, Step, always, close, drip, envelope, http

GOOD = envelope(CONFIG)
PLAIN = http(200, GOOD)
HEAD, _, BODY = PLAIN.partition(b"\r\n\r\n")


@asynccontextmanager
async def asking(*steps: Step, timeout: float = 30.0) -> AsyncIterator[CoinEventService]:  # noqa: ASYNC109  # connect's
    """A client with one try, of a server that always answers with these steps."""
    async with (
        Server(always(*steps)) as server,
        CoinEventService.connect(server.url, auth="a-token", retry=ONE_TRY, timeout=timeout) as coins,
    ):
        yield coins


def later(seconds: float) -> Step:
    """Go on so many seconds later."""

    async def step(_: Peer) -> None:
        await asyncio.sleep(seconds)

    return step


@pytest.mark.parametrize(
    "steps",
    [
        [drip(PLAIN * 100, 0.02)],
        [HEAD + b"\r\n\r\n", drip(BODY, 0.02)],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", drip(b"1\r\n \r\n" * 1000, 0.02)],
        [b"HTTP/1.1 200 OK\r\n\r\n", drip(b" " * 1000, 0.02)],
        [drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.0)],
    ],
    ids=["head", "body", "chunks", "body without length", "endless 100 Continue"],
)
@pytest.mark.parametrize("call", ["get", "update"])
async def test_a_dripping_server_cannot_outlive_the_deadline(call: str, steps: list[Step]) -> None:
    """The time limit is for the whole attempt: an answer that keeps coming, bit by bit, does not extend it."""
    async with asking(*steps, timeout=0.15) as coins:
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            await CALLS[call](coins)
        assert 0.1 < time.monotonic() - began < 1
    assert caught.value.maybe_applied == (call in WRITES)


async def test_each_attempt_has_its_own_deadline() -> None:
    """A try that timed out leaves the next one the full time."""
    async with Server() as server:
        answers: list[list[Step]] = [[drip(PLAIN, 0.02)], [later(0.1), PLAIN]]
        server.script = lambda _: answers.pop(0)
        async with CoinEventService.connect(server.url, auth="a", retry=THREE_TRIES, timeout=0.15) as coins:
            assert (await coins.get("WCC12345")).amount == 10


async def test_waiting_for_a_slot_does_not_count() -> None:
    """The time limit begins when a request may go out: a queue of ten at one at a time does not time out."""
    async with (
        Server(always(later(0.03), PLAIN)) as server,
        CoinEventService.connect(server.url, auth="a", retry=ONE_TRY, timeout=0.2, concurrency=1) as coins,
    ):
        await asyncio.gather(*(coins.get("WCC12345") for _ in range(10)))
    assert server.most_in_flight == 1


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress)],
    ids=["gzip", "deflate"],
)
async def test_a_bomb_is_not_unpacked(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """100 MiB of zeros in 100 kB are given up at 8 MiB, while reading: memory never holds them."""
    packed = compress(bytes(100 * 2**20))
    assert len(packed) < 110_000
    async with asking(http(200, packed, [f"Content-Encoding: {encoding}"])) as coins:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            with pytest.raises(MalformedResponse, match="larger than 8388608 bytes"):
                await coins.get("WCC12345")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - before < 32 * 2**20


async def endless_chunks(peer: Peer) -> None:
    """Blanks until the client hangs up."""
    block = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while not peer.writer.is_closing():
        peer.writer.write(block)
        await peer.writer.drain()


async def test_an_endless_answer_is_given_up() -> None:
    """A body without end is given up at 8 MiB, and its connection with it."""
    async with Server(always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", endless_chunks)) as server:
        async with CoinEventService.connect(server.url, auth="a", retry=THREE_TRIES) as coins:
            with pytest.raises(MalformedResponse):
                await coins.get("WCC12345")
        assert server.connections == len(server.seen) == 3


async def test_the_largest_body_is_read() -> None:
    """Exactly 8 MiB is not too large, one byte more is."""
    largest = GOOD.ljust(8 * 2**20)
    async with asking(http(200, largest)) as coins:
        assert (await coins.get("WCC12345")).amount == 10
    async with asking(http(200, largest + b" ")) as coins:
        with pytest.raises(MalformedResponse):
            await coins.get("WCC12345")


def _chunked(body: bytes, size: int) -> bytes:
    blocks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        [http(200, gzip.compress(GOOD), ["Content-Encoding: gzip"])],
        [http(200, zlib.compress(GOOD), ["Content-Encoding: deflate"])],
        [http(200, GOOD, ["Content-Encoding: identity"])],
        [http(200, GOOD, kind="text/plain")],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(GOOD, 7)],
        [b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, close],
        [b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD, close],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN],
        [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN],
        [drip(PLAIN, 0.0)],
    ],
    ids=["gzip", "deflate", "identity", "text", "chunked", "to the end", "HTTP/1.0", "100", "103", "byte by byte"],
)
async def test_ways_to_send_a_good_answer(answer: list[Step]) -> None:
    """Compressed, in chunks, without length, after interim answers: the same value."""
    async with asking(*answer) as coins:
        assert (await coins.update("WCC12345", amount=10)).coin_config_id == "WCC12345"


async def test_an_answer_without_length_that_is_cut_short() -> None:
    """Without a length its end cannot be told from a cut; it is found out by parsing, never taken for a success."""
    async with asking(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD[:-1], close) as coins:
        with pytest.raises(MalformedResponse) as caught:
            await coins.update("WCC12345", amount=10)
    assert caught.value.maybe_applied


async def test_a_chunked_answer_that_is_cut_short() -> None:
    """A chunked body without its last chunk is not whole, even if what came would parse."""
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(GOOD, 1000)[: -len(b"0\r\n\r\n")]
    async with asking(cut, close) as coins:
        with pytest.raises(Disconnected) as caught:
            await coins.update("WCC12345", amount=10)
    assert caught.value.maybe_applied


@pytest.mark.parametrize("own", [False, True], ids=["our session", "the caller's session"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_never_followed(status: int, *, own: bool) -> None:
    """A redirect would carry body and token to another host: it is an error, and the other host hears nothing."""
    async with Server() as elsewhere, aiohttp.ClientSession() as session:
        moved = http(status, b"", [f"Location: {elsewhere.url}/api/v0/enkash-coins/WCC12345"])
        async with Server(always(moved)) as server:
            given = session if own else None
            async with CoinEventService.connect(server.url, auth="a", retry=THREE_TRIES, session=given) as coins:
                for call in CALLS.values():
                    with pytest.raises(UnexpectedRedirect) as caught:
                        await call(coins)
                    assert (caught.value.status, caught.value.maybe_applied) == (status, False)
        assert len(server.seen) == len(CALLS)
        assert elsewhere.connections == 0
