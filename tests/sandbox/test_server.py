"""The API as an HTTP client sees it."""

import asyncio
import base64
import http.client
import json
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any, Self

import aiohttp
import pytest

from enkash_coins import CoinEventService, Conflict, PayloadEncryption, RetryPolicy
from enkash_coins.auth.password_grant import PasswordGrant
from enkash_coins.sandbox import Fault, Sandbox
from enkash_coins.sandbox.world import HISTORY
from enkash_coins.transport import Request, Response

UPDATE = "/api/v0/enkash-coins/WCC12345"
ALLOCATE = "/api/v0/enkash-coins/allocate-coin"
GIFT = {"companyId": "CEK1", "event": "REFERRAL_EVENT", "requestId": "r1", "userId": "EK1"}


class Client:
    """A plain HTTP client of one sandbox; it is none of ours, so that it makes none of our mistakes."""

    def __init__(self, sandbox: Sandbox) -> None:
        jar = aiohttp.CookieJar(unsafe=True)  # 127.0.0.1 is no name
        self.http = aiohttp.ClientSession(sandbox.base_url, cookie_jar=jar)
        self.environment = sandbox.environment

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:  # noqa: ANN401  # aiohttp's
        async with self.http.request(method, path, **options) as answer:
            return answer.status, await answer.json()

    async def log_in(self, **changes: str) -> int:
        its = {**self.environment, **changes}
        basic = f"{its['ENKASH_CLIENT_ID']}:{its['ENKASH_CLIENT_SECRET']}".encode()
        form = {
            "grant_type": "password",
            "username": its["ENKASH_USERNAME"],
            "password": its["ENKASH_PASSWORD"],
            "clientId": its["ENKASH_CLIENT_ID"],
        }
        headers = {"Authorization": f"Basic {base64.b64encode(basic).decode()}"}
        status, answer = await self.ask("POST", "/oauth/token", data=form, headers=headers)
        if status == 200:
            self.http.headers["Authorization"] = f"Bearer {answer['access_token']}"
        return status

    async def send(self, request: Request, /) -> Response:
        """As the SDK's transports do."""
        async with self.http.request(
            request.method, request.path, data=request.body, headers=dict(request.headers)
        ) as answer:
            return Response(answer.status, dict(answer.headers), await answer.read())

    async def aclose(self) -> None:
        """Nothing to give back."""


async def test_all_operations_work_over_http() -> None:
    """The documented calls get the documented answers, byte for byte where bytes are documented."""
    async with Sandbox() as sandbox, Client(sandbox) as client:
        assert await client.log_in() == 200
        async with client.http.patch(UPDATE, json={"amount": 10, "configuration": "DEFAULT"}) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "application/json"
            assert await answer.read() == (
                b'{"payload":{"coinConfigId":"WCC12345","configuration":"DEFAULT","event":"INVOICE_PAYMENT","amount":10},'
                b'"response_code":0,"response_message":"Success"}'
            )
        assert (await client.ask("GET", UPDATE))[1]["payload"]["amount"] == 10
        body = {"configuration": "DEFAULT", "companyId": "CEK1", "event": "MEAL_CARD_PAYMENT", "amount": 6}
        created = (await client.ask("POST", "/api/v0/enkash-coins/create-coins-config", json=body))[1]["payload"]
        assert sandbox.configs[created["coinConfigId"]] == {**created, "companyId": "CEK1"}
        assert (await client.ask("POST", ALLOCATE, json=GIFT))[0] == 200
        assert (await client.ask("GET", "/api/v0/coins/balance?userId=EK1"))[1]["payload"] == 1
        assert sandbox.allocations == [GIFT]
        assert [operation for operation, _, _ in sandbox.applied] == ["update", "create", "allocate"]
        assert sandbox.calls == dict.fromkeys(["token", "update", "get", "create", "allocate", "balance"], 1)


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("PATCH", UPDATE, {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("PATCH", UPDATE, {"data": b'{"amount":1}', "headers": {"Content-Type": "text/plain"}}, 400),
        ("GET", "/api/v0/enkash-coins/WCC99999", {}, 404),
        ("POST", "/api/v0/enkash-coins/create-coins-config", {"json": {
            "configuration": "DEFAULT", "companyId": "CEK1", "event": "INVOICE_PAYMENT", "amount": 1}}, 409),
        ("PATCH", UPDATE, {"json": {"companyId": "NOPE"}}, 412),
        ("PATCH", UPDATE, {"json": {"amount": -1}}, 422),
        ("DELETE", UPDATE, {}, 405),
        ("GET", "/nowhere", {}, 404),
    ],
    ids=str,
)  # fmt: skip
async def test_refusals_have_the_documented_statuses(
    method: str, path: str, options: dict[str, Any], status: int
) -> None:
    """Each kind of refusal comes with its status and the envelope, is counted, and takes no effect."""
    async with Sandbox() as sandbox, Client(sandbox) as client:
        await client.log_in()
        got, envelope = await client.ask(method, path, **options)
        assert (got, envelope["response_code"]) == (status, 1)
        assert sandbox.calls.total() == 2
        assert not sandbox.applied


async def test_answer_to_head_has_no_body() -> None:
    """The connection stays usable after a method that nobody asked for."""
    async with Sandbox() as sandbox, Client(sandbox) as client:
        for _ in range(2):
            async with client.http.head(UPDATE) as answer:
                assert (answer.status, await answer.read()) == (405, b"")


async def test_headers_beyond_8_kilobytes_are_refused() -> None:
    """All of them together, as a servlet container does it; with a page, and no effect."""
    async with Sandbox() as sandbox, Client(sandbox) as client:
        await client.log_in()
        for size, status in ((3000, 200), (4000, 400)):
            headers = {"Cookie": "a=" + "x" * size, "X-Large": "x" * 4000}
            async with client.http.patch(UPDATE, json={"amount": size}, headers=headers) as answer:
                assert answer.status == status
        assert [fields for _, _, fields in sandbox.applied] == [{"amount": 3000}]


async def test_connection_is_closed_when_asked_for() -> None:
    """Connections are kept, unless the client says otherwise."""
    async with Sandbox() as sandbox:
        reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = await asyncio.wait_for(reader.read(), 10)
        assert (answers.count(b"HTTP/1.1 404"), answers.count(b"Connection: close")) == (2, 1)
        writer.close()


async def test_token_is_needed_and_expires() -> None:
    """Without a valid token every operation is refused, and counted; a new token helps."""
    async with Sandbox() as sandbox, Client(sandbox) as client:
        assert (await client.ask("PATCH", UPDATE, json={"amount": 1}))[0] == 401
        await client.log_in()
        assert (await client.ask("PATCH", UPDATE, json={"amount": 1}))[0] == 200
        sandbox.expire_tokens()
        status, answer = await client.ask("PATCH", UPDATE, json={"amount": 2})
        assert status == 401
        assert answer["error_description"].startswith("Invalid access token: ")
        await client.log_in()
        assert (await client.ask("PATCH", UPDATE, json={"amount": 2}))[0] == 200
        assert sandbox.calls == {"update": 4, "token": 2}
        assert len(sandbox.applied) == 2


async def test_token_expires_by_itself() -> None:
    """`token_life` is the true life, `claimed_life` what is said about it."""
    async with Sandbox(token_life=1e-9, claimed_life=1000) as sandbox, Client(sandbox) as client:
        await client.log_in()
        assert (await client.ask("GET", UPDATE))[0] == 401


async def test_account_locks_after_three_refusals_and_can_be_unlocked() -> None:
    """Then even the right credentials get 401, until a person unlocks the account."""
    async with Sandbox() as sandbox, Client(sandbox) as client:
        assert [await client.log_in(ENKASH_PASSWORD="wrong") for _ in range(4)] == [400, 400, 400, 401]
        assert sandbox.locked
        assert await client.log_in() == 401
        sandbox.unlock()
        assert await client.log_in() == 200


@pytest.mark.parametrize(
    "names", [{}, {"client_id": "cl", "client_secret": "s", "username": "ü", "password": "p:ä &="}]
)
async def test_auth_logs_in(names: dict[str, str]) -> None:
    """`sandbox.auth` holds the right credentials, whatever they are, and is new each time."""
    async with Sandbox(**names) as sandbox, Client(sandbox) as client:  # type: ignore[arg-type]  # all of them strings
        assert isinstance(sandbox.auth, PasswordGrant)
        assert sandbox.auth is not sandbox.auth
        token = await sandbox.auth.token(client)
        client.http.headers["Authorization"] = f"Bearer {token.value}"
        assert (await client.ask("GET", UPDATE))[0] == 200
        assert sandbox.calls == {"token": 1, "get": 1}


async def test_cookies_are_set_once_and_any_are_taken() -> None:
    """A first request gets both cookies; who sends them, made up or not, gets no others."""
    async with Sandbox() as sandbox, Client(sandbox) as client:
        async with client.http.get(UPDATE) as answer:
            assert set(answer.cookies) == {"_cfuvid", "JSESSIONID"}
        async with client.http.get(UPDATE) as answer:
            assert set(answer.cookies) == set()
        async with aiohttp.request(
            "GET", sandbox.base_url, headers={"Cookie": "a=JSESSIONID=1; _cfuvid=mine"}
        ) as other:
            assert set(other.cookies) == {"JSESSIONID"}


@pytest.mark.parametrize("window", [None, 1000.0])
async def test_rate_beyond_the_limit_is_refused_with_retry_after(window: float | None) -> None:
    """Token requests count, too; what is refused takes no effect."""
    async with Sandbox(rate=2 if window is None else 0.002, window=window) as sandbox, Client(sandbox) as client:
        sandbox._clock = lambda: 100.0  # however slow the machine: all in the same second
        await client.log_in()
        answers = [client.http.patch(UPDATE, json={"amount": amount}) for amount in (1, 2, 3)]
        statuses = []
        for answer in answers:
            async with answer as got:
                statuses.append((got.status, got.headers.get("Retry-After")))
        wait = "1" if window is None else "900"
        assert statuses == [(200, None), (429, wait), (429, wait)]
        assert sandbox.calls["update"] == 3
        assert [body for _, _, body in sandbox.applied] == [{"amount": 1}]


async def test_rate_limit_need_not_say_when_to_come_back() -> None:
    """A CDN may answer with a page, and no Retry-After."""
    async with Sandbox(rate=0.001, retry_after=False) as sandbox, Client(sandbox) as client:
        await client.log_in()
        async with client.http.get(UPDATE) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (429, "text/html")
            assert "Retry-After" not in answer.headers


async def test_requests_beyond_the_capacity_wait_for_their_turn() -> None:
    """So many are worked on at once; what waits has not taken effect yet."""
    async with Sandbox(capacity=2) as sandbox, Client(sandbox) as client:
        await client.log_in()
        sandbox.latency = 3600.0
        waiting = [asyncio.create_task(client.ask("PATCH", UPDATE, json={"amount": amount})) for amount in (1, 2, 3)]
        await until(lambda: sandbox.calls["update"] == 3)
        assert len(sandbox.applied) == 2
        first = sandbox.applied[0][2]["amount"]
        waiting[int(str(first)) - 1].cancel()  # whoever goes away makes room
        await until(lambda: len(sandbox.applied) == 3)


async def test_requests_beyond_the_capacity_may_be_refused_at_once() -> None:
    """503, and no effect: as a server does that does not queue."""
    async with Sandbox(capacity=1, queue=False) as sandbox, Client(sandbox) as client:
        await client.log_in()
        sandbox.latency = 3600.0
        served = asyncio.create_task(client.ask("PATCH", UPDATE, json={"amount": 1}))
        await until(lambda: len(sandbox.applied) == 1)
        assert (await client.ask("PATCH", UPDATE, json={"amount": 2}))[0] == 503
        assert len(sandbox.applied) == 1
        served.cancel()


async def test_connections_that_are_not_in_use_are_closed() -> None:
    """After `idle_timeout` seconds, and without a word."""
    async with Sandbox(idle_timeout=0.01) as sandbox:
        reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
        writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"Connection: close" not in answer
        writer.close()


async def test_a_new_token_may_end_the_one_before() -> None:
    """As with one active token per user."""
    async with Sandbox(one_token=True) as sandbox, Client(sandbox) as first, Client(sandbox) as second:
        await first.log_in()
        await second.log_in()
        assert (await first.ask("GET", UPDATE))[0] == 401
        assert (await second.ask("GET", UPDATE))[0] == 200


async def test_encrypted_bodies_travel_encrypted_in_both_directions() -> None:
    """The known answer of the documents is understood, and what comes back is sealed in the same form."""
    its = PayloadEncryption("sandbox-client-secret")
    async with Sandbox(encrypted=True) as sandbox, Client(sandbox) as client:
        await client.log_in()  # plain, as ever
        status, sealed = await client.ask("PATCH", UPDATE, json={"request": "h91cCdBjT7gmtMejiP9zPA=="})
        assert (status, list(sealed)) == (200, ["request"])
        assert its.open(json.dumps(sealed).encode()) == (
            b'{"payload":{"coinConfigId":"WCC12345","configuration":"DEFAULT","event":"INVOICE_PAYMENT","amount":10},'
            b'"response_code":0,"response_message":"Success"}'
        )
        for ask, expected in ((client.ask("GET", UPDATE), 200), (client.ask("GET", UPDATE + "9"), 404)):
            status, sealed = await ask
            assert (status, list(sealed)) == (expected, ["request"])
        assert sandbox.environment["ENKASH_ENCRYPTED"] == "1"


async def test_a_client_that_encrypts_and_an_encrypted_sandbox_understand_each_other() -> None:
    """Two implementations that share no line: every operation, refusals, a second try, and a token quoted back."""
    its = PayloadEncryption("sandbox-client-secret")
    faults = [Fault("disconnect_after_apply", on="update", nth=1), Fault("malformed", on="get", nth=1)]
    async with (
        Sandbox(encrypted=True, faults=faults) as sandbox,
        CoinEventService.connect(
            sandbox.base_url, auth=sandbox.auth, encryption=its, retry=RetryPolicy(base=0)
        ) as coins,
    ):
        assert (await coins.update("WCC12345", amount=77)).amount == 77
        assert (await coins.get("WCC12345")).amount == 77
        made = await coins.create(company_id="CEK1", event="NEW", amount=6, configuration="DEFAULT")
        assert sandbox.configs[made.coin_config_id]["amount"] == 6
        receipt = await coins.allocate(company_id="CEK1", event="NEW", user_id="EK1")
        assert await coins.balance("EK1") == 6
        with pytest.raises(Conflict, match="requestId exists already"):
            await coins.allocate(company_id="CEK1", event="NEW", user_id="EK1", request_id=receipt.request_id)
        sandbox.expire_tokens()
        assert await coins.balance("EK1") == 6
        assert sandbox.calls == {"token": 2, "update": 2, "get": 2, "create": 1, "allocate": 2, "balance": 3}


@pytest.mark.parametrize("body", [b'{"amount":10}', b'{"request":"AAAA"}', b'{"request":1}', b"[]", b"{"])
async def test_what_cannot_be_deciphered_is_refused(body: bytes) -> None:
    """A client that sends plain bodies, or has another secret, gets 400, and nothing is applied."""
    async with Sandbox(encrypted=True) as sandbox, Client(sandbox) as client:
        await client.log_in()
        status, sealed = await client.ask("PATCH", UPDATE, data=body, headers={"Content-Type": "application/json"})
        refusal = PayloadEncryption("sandbox-client-secret").open(json.dumps(sealed).encode())
        assert (status, json.loads(refusal)["response_message"]) == (400, "The body cannot be deciphered")
        assert not sandbox.applied


async def test_what_stands_in_front_of_the_api_does_not_encrypt() -> None:
    """A refused token, a rate limit and a gateway's page come plain, also from an encrypted sandbox."""
    async with Sandbox(encrypted=True) as sandbox, Client(sandbox) as client:
        assert (await client.ask("GET", UPDATE))[1]["error"] == "unauthorized"
        await client.log_in()
        sandbox.faults += [Fault("rate_limited", on="get", retry_after=1), Fault("html", on="update")]
        assert (await client.ask("GET", UPDATE))[1]["response_message"] == "Too many requests"
        async with client.http.patch(UPDATE, json={"amount": 1}) as answer:
            assert (await answer.read())[:6] == b"<html>"


def test_an_encrypted_sandbox_without_the_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the command to type."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(ModuleNotFoundError, match=r"an encrypted sandbox is an extra: pip install .*\[encryption\]"):
        Sandbox(encrypted=True)


async def test_latency_delays_the_answer_and_not_the_effect() -> None:
    """A request takes effect as it arrives, and whether or not its client waits for the answer."""
    async with Sandbox(latency=3600.0) as sandbox, Client(sandbox) as client:
        login = asyncio.create_task(client.log_in())
        await until(lambda: sandbox.calls["token"] == 1)
        for _ in range(50):  # turns of the loop: more than an answer takes
            await asyncio.sleep(0)
        assert not login.done()
        login.cancel()
    async with Sandbox(latency=0.002) as sandbox, Client(sandbox) as client:
        assert await client.log_in() == 200


async def test_requests_are_shown_as_they_came() -> None:
    """Target, headers with their case and order, and body are what was sent, byte for byte."""
    async with Sandbox() as sandbox:
        reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
        writer.write(b"PATCH /api/v0/enkash-coins/%41?b=%20 HTTP/1.1\r\nhOST: x\r\nX-A: 1\r\nx-a:\xe9\r\n")
        writer.write(b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        (seen,) = sandbox.requests
        assert (seen.operation, seen.method, seen.target) == ("update", "PATCH", "/api/v0/enkash-coins/%41?b=%20")
        assert seen.headers[:3] == [("hOST", "x"), ("X-A", "1"), ("x-a", "é")]
        assert seen.body == b"{}"


async def test_memory_of_the_past_is_bounded() -> None:
    """However many requests: the last ones are kept."""
    sandbox = Sandbox()
    assert sandbox.requests.maxlen == 2000
    assert sandbox.applied.maxlen == HISTORY


async def test_faults_may_be_changed_while_running() -> None:
    """The list is looked at for each request; numbers go on from the sandbox's start."""
    async with Sandbox() as sandbox, Client(sandbox) as client:
        await client.log_in()
        sandbox.faults.append(Fault("server_error", on="get", nth=[1, 3]))
        assert [(await client.ask("GET", UPDATE))[0] for _ in range(4)] == [503, 200, 503, 200]
        sandbox.faults[:] = [Fault("server_error", status=500)]
        assert (await client.ask("GET", UPDATE))[0] == 500
        sandbox.faults.clear()
        assert (await client.ask("GET", UPDATE))[0] == 200


async def test_same_seed_gives_the_same_faults_over_http() -> None:
    """A run with chance in it can be repeated."""
    runs = []
    for _ in range(2):
        fault = Fault("server_error", on="get", probability=0.5)
        async with Sandbox(1, faults=[fault], seed=3) as sandbox, Client(sandbox) as client:
            await client.log_in()
            runs.append([(await client.ask("GET", UPDATE))[0] for _ in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 503}


async def test_stopped_sandbox_starts_again_where_it_was() -> None:
    """The port and the truth stay; in between nobody answers. Closing twice does no harm."""
    sandbox = Sandbox()
    await sandbox.aclose()
    await sandbox.start()
    url = sandbox.base_url
    async with Client(sandbox) as client:
        await client.log_in()
        await client.ask("PATCH", UPDATE, json={"amount": 77})
        await sandbox.aclose()
        await sandbox.aclose()
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.ask("GET", UPDATE)
        async with sandbox:
            assert sandbox.base_url == url
            assert (await client.ask("GET", UPDATE))[1]["payload"]["amount"] == 77


def test_it_runs_in_a_thread_for_tests_that_are_not_async() -> None:
    """`with` instead of `async with`: whoever blocks does not block it; and again, on the same port."""
    sandbox = Sandbox()
    for _ in range(2):
        with sandbox as running:
            assert running is sandbox
            connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=10)
            connection.request("GET", "/nowhere")
            assert connection.getresponse().status == 404
            connection.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "enkash-sandbox"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", sandbox.port))


def test_a_start_in_a_thread_that_fails_says_why() -> None:
    """A port that is taken is the caller's error, and no thread is left."""
    with Sandbox() as sandbox, pytest.raises(OSError, match="address already in use"), Sandbox(port=sandbox.port):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "enkash-sandbox"]


async def test_start_says_what_is_wrong() -> None:
    """A second start, a port that is taken, an address too early: one clear error each."""
    with pytest.raises(RuntimeError, match="no address before it is started"):
        _ = Sandbox().base_url
    async with Sandbox() as sandbox:
        with pytest.raises(RuntimeError, match="running already"):
            await sandbox.start()
        with pytest.raises(OSError, match="address already in use"):
            await Sandbox(port=sandbox.port).start()


@pytest.mark.parametrize(
    "wrong",
    [
        {"configs": -1},
        {"token_life": 0},
        {"latency": -1},
        {"rate": 0},
        {"rate": float("nan")},
        {"rate": 5, "burst": 0},
        {"rate": 5, "burst": 5, "window": 1},
        {"burst": 5},
        {"window": 5},
        {"capacity": 0},
        {"idle_timeout": 0},
        {"faults": ["update:x=cut"]},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """A sandbox that cannot work is not made."""
    with pytest.raises(ValueError, match="|".join(wrong) + "|no fault"):
        Sandbox(**wrong)


def test_address_of_ipv6_has_brackets() -> None:
    """::1 is loopback, too."""
    assert Sandbox(0, host="::1", port=80).base_url == "http://[::1]:80"


def test_stops_at_once_and_silently() -> None:
    """Hung, dripping, late and idle connections hold nothing up, and leave no warning behind, even in dev mode."""
    script = """
        import asyncio, time
        from enkash_coins.sandbox import Fault, Sandbox
        async def main():
            faults = [Fault("hang", nth=1), Fault("drip", nth=2, seconds=3600), Fault("latency", nth=3, seconds=3600),
                      Fault("applied_late", nth=4, seconds=3600)]
            sandbox = Sandbox(10, faults=faults)
            await sandbox.start()
            writers = []
            for _ in range(50):
                _, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
                writer.write(b"GET /a HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                writers.append(writer)
            _, half = await asyncio.open_connection("127.0.0.1", sandbox.port)
            half.write(b"POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 9\\r\\n\\r\\n{")
            while sandbox.calls["other"] < 50:
                await asyncio.sleep(0)
            _, last = await asyncio.open_connection("127.0.0.1", sandbox.port)
            start = time.perf_counter()
            await sandbox.aclose()
            print(time.perf_counter() - start, len(asyncio.all_tasks()), sandbox.calls.total())
            for writer in [*writers, half, last]:
                writer.close()
        asyncio.run(main())
    """
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, tasks, calls = done.stdout.split()
    assert float(seconds) < 1
    assert (tasks, calls) == ("1", "50")
    assert done.stderr == ""


async def until(true: Callable[[], bool]) -> None:
    """Let the loop run until this is so."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # the truth that is waited for sets no event
            await asyncio.sleep(0)
