"""The same updates by other HTTP clients (requirements/bench.txt), each as its own documentation writes it.

Where a pool is smaller by default than what is in flight, it is made that large; httpx gets slower by it, and is left.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import aiosonic
import elastic_transport
import httpx
import niquests
from azure.core import AsyncPipelineClient
from azure.core.rest import HttpRequest
from pyreqwest.client import ClientBuilder

from benchmarks.ways import AUTHORIZATION, BODY, IN_FLIGHT, PATH, Send, Way, by_workers


def _each(ask: Callable[[int], Awaitable[Any]]) -> Send:
    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            answer = await ask(number)
            if answer["response_code"] != 0:
                raise RuntimeError(answer)

    return by_workers(work)


@contextlib.asynccontextmanager
async def _httpx(base_url: str) -> AsyncIterator[Send]:
    async with httpx.AsyncClient(base_url=base_url, headers=AUTHORIZATION) as client:

        async def ask(number: int) -> object:
            return (await client.patch(f"{PATH}{number}", json=BODY)).json()

        yield _each(ask)


@contextlib.asynccontextmanager
async def _niquests(base_url: str) -> AsyncIterator[Send]:
    async with niquests.AsyncSession(base_url=base_url, headers=AUTHORIZATION, pool_maxsize=IN_FLIGHT) as session:

        async def ask(number: int) -> object:
            return (await session.patch(f"{PATH}{number}", json=BODY)).json()

        yield _each(ask)


@contextlib.asynccontextmanager
async def _azure_core(base_url: str) -> AsyncIterator[Send]:
    async with AsyncPipelineClient(base_url) as client:

        async def ask(number: int) -> object:
            request = HttpRequest("PATCH", f"{base_url}{PATH}{number}", headers=AUTHORIZATION, json=BODY)
            return (await client.send_request(request)).json()

        yield _each(ask)


@contextlib.asynccontextmanager
async def _elastic_transport(base_url: str) -> AsyncIterator[Send]:
    host, _, port = base_url.removeprefix("http://").partition(":")
    node = elastic_transport.NodeConfig("http", host, int(port), connections_per_node=IN_FLIGHT)
    headers = {**AUTHORIZATION, "Content-Type": "application/json"}
    transport = elastic_transport.AsyncTransport([node], node_class=elastic_transport.AiohttpHttpNode)

    async def ask(number: int) -> object:
        return (await transport.perform_request("PATCH", f"{PATH}{number}", headers=headers, body=BODY)).body

    try:
        yield _each(ask)
    finally:
        await transport.close()


@contextlib.asynccontextmanager
async def _aiosonic(base_url: str) -> AsyncIterator[Send]:
    async with aiosonic.HTTPClient() as client:

        async def ask(number: int) -> object:
            response = await client.patch(f"{base_url}{PATH}{number}", headers=AUTHORIZATION, json=BODY)
            return await response.json()

        yield _each(ask)


@contextlib.asynccontextmanager
async def _pyreqwest(base_url: str) -> AsyncIterator[Send]:
    async with ClientBuilder().base_url(base_url).default_headers(AUTHORIZATION).build() as client:

        async def ask(number: int) -> object:
            return await (await client.patch(f"{PATH}{number}").body_json(BODY).build().send()).json()

        yield _each(ask)


PEERS: Final[dict[str, Way]] = {
    "httpx": Way(_httpx),
    "niquests": Way(_niquests),
    "azure-core": Way(_azure_core),
    "elastic-transport": Way(_elastic_transport),
    "aiosonic": Way(_aiosonic),
    "pyreqwest": Way(_pyreqwest),
}
