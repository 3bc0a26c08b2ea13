import base64
import hashlib
import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from enkash_coins import (
    CoinEventService,
    Disconnected,
    EnkashError,
    InvalidRequest,
    MalformedResponse,
    NotFound,
    PayloadEncryption,
    Response,
    RetryPolicy,
    ServerError,
)
from enkash_coins.extras import lacking
from enkash_coins.layers.encryption import Encryption
from enkash_coins.testing import MockTransport, answer

SECRET = "sandbox-client-secret"
CONFIG = {"coinConfigId": "WCC12345", "configuration": "DEFAULT", "event": "INVOICE_PAYMENT", "amount": 10}


def sealed(text: bytes, secret: str = SECRET) -> str:
    """As a reader of the documents would write it: another implementation than the package's."""
    padder = PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(hashlib.sha256(secret.encode()).digest()[:16]), modes.ECB())  # noqa: S305
    encryptor = cipher.encryptor()
    return base64.b64encode(encryptor.update(padder.update(text) + padder.finalize()) + encryptor.finalize()).decode()


def sealed_answer(response: Response, key: str = "response", secret: str = SECRET) -> Response:
    """This answer as the API would seal it."""
    body = json.dumps({key: sealed(response.body, secret)}).encode()
    return Response(response.status, response.headers, body)


def service(*answers: Response | EnkashError, attempts: int = 2) -> tuple[CoinEventService, MockTransport]:
    """A service that encrypts, over a transport that gives these answers."""
    mock = MockTransport(answers)
    retry = RetryPolicy(attempts=attempts, base=0)
    return CoinEventService(mock, encryption=PayloadEncryption(SECRET), retry=retry), mock


def test_the_known_answer() -> None:
    """What two independent libraries made of this text and secret."""
    body = PayloadEncryption(SECRET).seal(b'{"amount":10}')
    assert body == b'{"request":"h91cCdBjT7gmtMejiP9zPA=="}'
    assert PayloadEncryption(SECRET).open(body) == b'{"amount":10}'


@given(st.binary(min_size=1), st.sampled_from(["request", "response", "data"]))
def test_what_others_seal_is_opened_and_what_we_seal_others_open(text: bytes, key: str) -> None:
    """Both directions agree with another implementation, whatever the length, under each documented key."""
    settings = PayloadEncryption(SECRET)
    assert settings.open(json.dumps({key: sealed(text)}).encode()) == text
    assert json.loads(settings.seal(text)) == {"request": sealed(text)}


@pytest.mark.parametrize("key", ["request", "response", "data"])
async def test_bodies_are_sealed_in_both_directions(key: str) -> None:
    """A write goes out sealed and its answer is opened; a request without a body stays without."""
    coins, mock = service(*[sealed_answer(answer(CONFIG), key)] * 2)
    assert (await coins.update("WCC12345", amount=10)).amount == 10
    assert (await coins.get("WCC12345")).amount == 10
    assert [request.body for request in mock.requests] == [b'{"request":"h91cCdBjT7gmtMejiP9zPA=="}', b""]


async def test_a_repeated_request_is_sealed_once() -> None:
    """A second try sends the very same bytes, and what a fake transport has seen does not change under it."""
    coins, mock = service(Disconnected("gone"), answer(CONFIG))
    await coins.update("WCC12345", amount=10)
    assert {request.body for request in mock.requests} == {b'{"request":"h91cCdBjT7gmtMejiP9zPA=="}'}


@pytest.mark.parametrize(
    "body",
    [
        b'{"payload":{"data":"x"},"response_code":0,"response_message":"Success"}',
        b'{"data":{"amount":10}}',
        b'{"data":null}',
        b'{"other":"h91cCdBjT7gmtMejiP9zPA=="}',
        b'{"data":"h91cCdBjT7gmtMejiP9zPA==","request":"h91cCdBjT7gmtMejiP9zPA=="}',
        b'["request"]',
        b"<html>",
        b"",
    ],
)
def test_what_is_not_sealed_is_read_as_it_is(body: bytes) -> None:
    """Sealed is an object of exactly one key, one of three, that holds a string; a gateway's own words are not."""
    assert PayloadEncryption(SECRET).open(body) == body


def test_base64_may_be_broken_into_lines() -> None:
    """Some of Java's encoders break a line after 76 characters."""
    text = b'{"amount":10, "event": "REFERRAL_EVENT", "companyId": "CEK1", "configuration": "DEFAULT"}'
    encoded = sealed(text)
    body = json.dumps({"request": f"{encoded[:76]}\r\n{encoded[76:]}\r\n"}).encode()
    assert PayloadEncryption(SECRET).open(body) == text


WRONG = [
    pytest.param("h91cCdBjT7gmtMejiP9zPA", id="base64 cut off"),
    pytest.param("not base64!", id="no base64"),
    pytest.param("aGVsbG8=", id="no whole block"),
    pytest.param("", id="empty"),
    pytest.param("schlüssel", id="beyond ASCII"),
    pytest.param(sealed(b'{"amount":10}', "another-secret"), id="another secret"),
    pytest.param(base64.b64encode(bytes(16)).decode(), id="no padding"),
]


@pytest.mark.parametrize("text", WRONG)
async def test_a_success_that_cannot_be_deciphered_is_malformed_and_in_doubt(text: str) -> None:
    """The write may have been applied, and the error says so; a read is tried again."""
    unreadable = Response(200, {"Content-Type": "application/json"}, json.dumps({"response": text}).encode())
    coins, mock = service(*[unreadable] * 3)
    with pytest.raises(MalformedResponse, match="cannot be deciphered") as caught:
        await coins.allocate(company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1")
    assert caught.value.maybe_applied
    assert caught.value.status == 200
    assert caught.value.__context__ is None
    with pytest.raises(MalformedResponse):
        await coins.get("WCC12345")
    assert len(mock.requests) == 3


@pytest.mark.parametrize("text", WRONG)
async def test_an_error_that_cannot_be_deciphered_is_read_as_plain(text: str) -> None:
    """Its status says enough: it stays the error that it is."""
    coins, _ = service(Response(404, {}, json.dumps({"data": text}).encode()))
    with pytest.raises(NotFound):
        await coins.get("WCC12345")


async def test_errors_are_read_whether_sealed_or_plain() -> None:
    """The API's own refusal comes sealed, the page of a gateway plain."""
    refusal = answer("No such coin configuration", status=404, code=1, message="No such coin configuration")
    coins, _ = service(
        sealed_answer(refusal), refusal, Response(502, {"Content-Type": "text/html"}, b"<html>"), attempts=1
    )
    for _ in range(2):
        with pytest.raises(NotFound, match="No such coin configuration"):
            await coins.get("WCC12345")
    with pytest.raises(ServerError):
        await coins.get("WCC12345")


@pytest.mark.parametrize("secret", ["", "secret\n", "a\tb", "\ud800", None, b"secret"])
def test_a_secret_that_cannot_be_right_is_refused_and_not_shown(secret: object) -> None:
    """One read from a file may end with a line break: with it no answer could ever be deciphered."""
    with pytest.raises(InvalidRequest, match="client_secret") as caught:
        PayloadEncryption(secret)  # type: ignore[arg-type]  # that is the point
    trace = caught.value.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    assert "client_secret" not in trace.tb_next.tb_frame.f_locals
    assert repr(secret) not in repr(trace.tb_next.tb_frame.f_locals)


def test_the_secret_is_not_shown() -> None:
    """Neither the secret nor the key stands in what a log or a crash reporter prints."""
    settings = PayloadEncryption(SECRET)
    shown = repr(settings) + str(settings) + repr(vars(settings)) + repr(vars(Encryption(MockTransport([]), settings)))
    assert SECRET not in shown
    assert repr(hashlib.sha256(SECRET.encode()).digest()[:16]) not in shown


def test_without_the_extra_it_says_how_to_get_it() -> None:
    """The package is imported without it; only who asks for encryption needs it."""
    code = """
import sys
sys.modules["cryptography"] = None
import enkash_coins
try:
    enkash_coins.PayloadEncryption("secret")
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{lacking('PayloadEncryption', 'encryption')}\n"


async def test_closing_it_closes_what_is_inside() -> None:
    """A layer owns the transport that it stands around, and hands on its base URL."""
    mock = MockTransport([])
    layer = Encryption(mock, PayloadEncryption(SECRET))
    await layer.aclose()
    assert mock.closed
    assert layer.base_url == getattr(mock, "base_url", "")
