"""What people see of a sandbox: its page in a real browser, and its OpenAPI document."""

import asyncio
import hashlib
import importlib.resources
import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

from enkash_coins.sandbox import Sandbox
from enkash_coins.sandbox.exchange import SeenRequest
from enkash_coins.sandbox.faults import FaultKind
from enkash_coins.sandbox.live import events, live_page, openapi
from enkash_coins.sandbox.routes import OPERATIONS, route
from enkash_coins.sandbox.world import World
from tests.browser import browser, needs_browser

HOSTILE = """</script><script>document.title = "hit"</script><img src=x onerror='document.title = "hit"'>"""


def seen(operation: str, body: bytes = b"", target: str = "/x") -> SeenRequest:
    """A request that came in."""
    return SeenRequest(operation, "PATCH", target, (), body)


def told(world: World, requests: list[SeenRequest]) -> Iterator[dict[str, Any] | None]:
    """What a page is told at each look."""
    for event in events(world, Counter(seen.operation for seen in requests), requests, lambda seen: seen.body):
        assert not event or (event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2)
        yield json.loads(event[6:]) if event else None


def test_a_page_is_told_all_at_first_and_then_what_has_changed() -> None:
    """Whether a request has changed it, or a test by hand; as long as nothing changes, nothing is told."""
    world, requests = World(3, seed=0, dedupe=True), list[SeenRequest]()
    looks = told(world, requests)
    first = next(looks)
    assert first is not None
    assert (first["first"], first["held"], first["configs"]) == (True, 4, world.configs)
    assert next(looks) is None
    world.configs["WCC00002"]["amount"] = 77
    del world.configs["WCC00003"]
    second = next(looks)
    assert second is not None
    assert (second["first"], second["held"]) == (False, 3)
    assert second["configs"] == {"WCC00002": world.configs["WCC00002"], "WCC00003": None}
    assert next(looks) is None


def test_a_page_is_told_of_the_last_calls() -> None:
    """The newest first, fifty at most, long bodies cut; how one ended is told once that is known."""
    world, requests = World(0, seed=0, dedupe=True), [seen("update", b'{"amount":%d}' % number) for number in range(60)]
    looks = told(world, requests)
    first = next(looks)
    assert first is not None
    assert [call["body"] for call in first["requests"]] == [f'{{"amount":{number}}}' for number in range(59, 9, -1)]
    assert first["requests"][0]["status"] is None
    requests[-1].status, requests[-1].fault = 503, FaultKind.SERVER_ERROR
    requests[-2].body = b"x" * 10_000
    second = next(looks)
    assert second is not None
    assert (second["requests"][0]["status"], second["requests"][0]["fault"]) == (503, "server_error")
    assert len(second["requests"][1]["body"]) == 301


def test_a_page_is_told_no_password_and_stumbles_over_no_bytes() -> None:
    """A login's body is not shown, and what is not UTF-8 is no reason to stop."""
    requests = [seen("token", b"password=secret"), seen("update", b"\xff", "/\udcff")]
    first = next(told(World(0, seed=0, dedupe=True), requests))
    assert first is not None
    assert [call["body"] for call in first["requests"]] == ["\ufffd", ""]
    assert first["requests"][0]["line"] == "PATCH /\udcff"


def test_the_page_loads_and_runs_nothing_but_itself() -> None:
    """No script, style or font from elsewhere, and a policy that allows only its own."""
    answer = live_page()
    text, policy = answer.body.decode(), dict(answer.headers)["Content-Security-Policy"]
    assert re.findall(r"(?:https?:)?//[a-z]|@import|url\(|<script [^>]*src", text) == []
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'" in policy


async def test_looking_on_is_no_call() -> None:
    """The page and its events are neither counted nor shown, nor hit by a fault; closing ends them at once."""
    async with Sandbox(2, faults=["*=hang"]) as sandbox, aiohttp.ClientSession(sandbox.base_url) as http:
        async with http.get("/") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
        async with http.get("/events") as answer:
            assert await answer.content.readuntil(b"\n\n") == b"retry: 500\n\n"
            assert json.loads((await answer.content.readuntil(b"\n\n"))[6:])["held"] == 3
            sandbox.configs["WCC00001"]["amount"] = 77
            assert json.loads((await answer.content.readuntil(b"\n\n"))[6:])["configs"]["WCC00001"]["amount"] == 77
            async with asyncio.timeout(1):
                await sandbox.aclose()
        assert not sandbox.calls
        assert not sandbox.requests


@needs_browser
async def test_a_browser_shows_what_happens() -> None:
    """A thousand configurations, what is written to them, and allocations and calls, without loading it again."""
    async with Sandbox(1000) as sandbox, browser() as page:
        await page.open(sandbox.base_url)
        await page.until("rows.size === 1001")
        assert await page.run("at('counts').textContent") == "No calls yet"
        sandbox.configs["WCC00500"]["amount"] = 777
        await page.until("body('configs').rows[0].className === 'new'")
        assert await page.run("body('configs').rows[0].innerText.replace(/\\s+/g, ' ')") == (
            "WCC00500 CEK100166 INVOICE_PAYMENT DEFAULT was 95 777"
        )
        async with aiohttp.ClientSession(sandbox.base_url) as http, http.get("/api/v0/enkash-coins/WCC1"):
            pass
        sandbox.allocations.append({"userId": "EK1", "companyId": "CEK1", "event": "E", "requestId": "r1"})
        await page.until("body('allocations').rows.length === 1")
        assert (await page.run("body('calls').rows[0].innerText")).split()[1:] == (
            ["get", "GET", "/api/v0/enkash-coins/WCC1", "401"]
        )
        await page.run("at('only').value = 'wcc0100', at('only').dispatchEvent(new Event('input'))")
        assert await page.run("[...body('configs').rows].filter(row => !row.hidden).length") == 1
        await sandbox.aclose()
        await page.until("at('state').textContent === 'The sandbox does not answer.'")
        del sandbox.configs["WCC00500"]
        await sandbox.start()
        await page.until("at('state').textContent === '' && rows.size === 1000")
        assert [problem for problem in page.problems if "ERR_" not in problem] == []


@needs_browser
async def test_a_browser_shows_hostile_text_as_text() -> None:
    """Whatever stands in a field, a path or a body, nothing of it becomes part of the page or runs."""
    async with Sandbox(1) as sandbox, browser() as page:
        sandbox.configs["WCC00001"].update(configuration={"CUSTOM": HOSTILE}, event=HOSTILE, companyId=HOSTILE)
        sandbox.configs["__proto__"] = sandbox.configs["WCC00001"] | {"coinConfigId": HOSTILE}
        sandbox.allocations.append(dict.fromkeys(("userId", "companyId", "event", "requestId"), HOSTILE))
        sandbox.requests.append(SeenRequest(HOSTILE, HOSTILE, HOSTILE, (), HOSTILE.encode()))
        await page.open(sandbox.base_url)
        await page.until("body('allocations').rows.length === 1 && rows.size === 3")
        for row in (
            "body('allocations').rows[0].cells[0]",
            "body('calls').rows[0].cells[1]",
            "rows.get('__proto__').cells[0]",
        ):
            assert await page.run(f"{row}.textContent") == HOSTILE
        assert await page.run("document.querySelectorAll('main img, main script').length") == 0
        assert await page.run("document.title") == "EnKash coins: sandbox"
        assert page.problems == []


@needs_browser
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True])
async def test_everybody_can_read_the_page(dark: bool, width: int) -> None:
    """Axe finds nothing: contrast, landmarks, labels, tables, keyboard; light and dark, on a desk and on a phone."""
    axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    async with Sandbox(20) as sandbox, browser() as page:
        await page.open(sandbox.base_url, dark=dark, width=width)
        await page.until("rows.size === 21")
        async with aiohttp.ClientSession(sandbox.base_url) as http, http.get("/api/v0/enkash-coins/WCC1"):
            pass
        sandbox.configs["WCC00001"]["amount"] = 777
        await page.until("body('configs').rows[0].className === 'new' && body('calls').rows.length === 1")
        await page.run(axe + "; 0")
        found = await page.run("axe.run().then(found => found.violations.map(one => [one.id, one.nodes[0].html]))")
        assert found == []
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")


def resolved(document: Any, schema: Any) -> Any:  # noqa: ANN401  # JSON
    """The schema that a reference leads to."""
    while "$ref" in schema:
        path = schema["$ref"].removeprefix("#/").split("/")
        schema = document
        for name in path:
            schema = schema[name]
    return schema


def misfits(document: Any, schema: Any, value: Any) -> list[str]:  # noqa: ANN401  # JSON
    """Where a value is not what a schema asks for; of JSON Schema, what the document uses."""
    schema = resolved(document, schema)
    types = {"object": dict, "string": str, "integer": int}
    if "type" in schema and type(value) is not types[schema["type"]]:
        return [f"{value!r} is not {schema['type']}"]
    found = [f"no {name}" for name in schema.get("required", ()) if name not in value]
    for name, inner in schema.get("properties", {}).items():
        found += misfits(document, inner, value[name]) if name in value else []
    for inner in schema.get("allOf", ()):
        found += misfits(document, inner, value)
    if "oneOf" in schema and sum(not misfits(document, inner, value) for inner in schema["oneOf"]) != 1:
        found.append(f"{value!r} is not one of several")
    if "const" in schema and value != schema["const"]:
        found.append(f"{value!r} is not {schema['const']!r}")
    if "not" in schema and not misfits(document, schema["not"], value):
        found.append(f"{value!r} is what it must not be")
    limits = schema.get("minimum", value), schema.get("maximum", value)
    if not limits[0] <= value <= limits[1] if isinstance(value, int) else len(value) < schema.get("minLength", 0):
        found.append(f"{value!r} is out of bounds")
    return found


def test_the_openapi_document_is_valid_and_about_every_operation() -> None:
    """Its references lead somewhere, and its operations are those of the API under their paths."""
    document = json.loads(openapi("http://127.0.0.1:1").body)
    validate(document)
    for reference in re.findall(r'"\$ref":"([^"]+)"', openapi("").body.decode()):
        assert resolved(document, {"$ref": reference})
    assert document["servers"] == [{"url": "http://127.0.0.1:1"}]
    found = {
        operation["operationId"]: route(method.upper(), path)[0]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    }
    assert found == {name: name for name in OPERATIONS if name != "other"}


CREATE, ALLOCATE = "/api/v0/enkash-coins/create-coins-config", "/api/v0/enkash-coins/allocate-coin"
NEW = {"configuration": {"CUSTOM": "x"}, "companyId": "CEK1", "event": "E", "amount": 6}
GIFT = {"companyId": "CEK1", "event": "E", "requestId": "r", "userId": "EK1"}
ASKED = [
    ("post", CREATE, NEW),
    ("post", CREATE, {"companyId": "CEK1"}),
    ("patch", "/api/v0/enkash-coins/WCC12345", {"amount": 10, "configuration": "DEFAULT"}),
    ("patch", "/api/v0/enkash-coins/WCC12345", {"amount": -1}),
    ("get", "/api/v0/enkash-coins/WCC12345", None),
    ("get", "/api/v0/enkash-coins/WCC9", None),
    ("post", ALLOCATE, GIFT),
    ("post", ALLOCATE, GIFT | {"companyId": "NOPE"}),
    ("get", "/api/v0/coins/balance?userId=EK1", None),
    ("get", "/api/v0/coins/balance", None),
]


async def test_what_the_sandbox_answers_is_what_the_document_says() -> None:
    """Each answer has a documented status, and a body that fits its schema; so has the login, right and wrong."""
    async with Sandbox(2, client_id="a", client_secret="b", username="c", password="d") as sandbox:
        async with aiohttp.ClientSession(sandbox.base_url) as http:
            async with http.get("/openapi.json") as answer:
                document = await answer.json()
            login = {"grant_type": "password", "clientId": "a", "username": "c"}
            tokens = []
            for password in ("wrong", "d"):
                form, basic = {**login, "password": password}, {"Authorization": "Basic YTpi"}
                async with http.post("/oauth/token", data=form, headers=basic) as answer:
                    tokens.append(await check(document, "post", "/oauth/token", answer))
            for headers in ({}, {"Authorization": f"Bearer {tokens[1]['access_token']}"}):
                for method, path, body in ASKED:
                    async with http.request(method, path, json=body, headers=headers) as answer:
                        await check(document, method, path, answer)
        assert sandbox.calls["create"] == 4


async def check(document: Any, method: str, path: str, answer: aiohttp.ClientResponse) -> Any:  # noqa: ANN401  # JSON
    """The answer's body, which is what the document says."""
    known = re.sub(r"/WCC\d+$", "/{coinConfigId}", path.partition("?")[0])
    response = resolved(document, document["paths"][known][method]["responses"][str(answer.status)])
    body = await answer.json()
    assert misfits(document, response["content"]["application/json"]["schema"], body) == [], (method, path, body)
    return body
