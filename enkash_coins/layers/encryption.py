"""Bodies go out sealed, and sealed answers are opened, as the API asks for on top of TLS (extra ``[encryption]``)."""

from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Final

import attrs

from enkash_coins.api.answers import malformed
from enkash_coins.api.codec import Unreadable, loads
from enkash_coins.errors import InvalidRequest
from enkash_coins.extras import lacking
from enkash_coins.secret import Secret
from enkash_coins.transport import Request, Response, Transport

_ANSWER_KEYS = frozenset({"request", "response", "data"})
_BLOCK = 16


class PayloadEncryption:
    """Encrypts the bodies of a client in both directions: ``connect(…, encryption=PayloadEncryption(secret))``.

    It is what the API asks for, and no security of its own: ECB mode shows which blocks are alike, and nothing notices
    a body that somebody has changed. What protects the calls is TLS. Token requests stay plain.

    Args:
        client_secret: the one that ``PasswordGrant`` has; the key is made of it.

    Raises:
        InvalidRequest: the secret is empty, or is not text in one line.
        ModuleNotFoundError: the extra is not installed.

    Source: EnKash's page on payouts: AES-128, ECB, PKCS#5; the key is the first 16 bytes of the SHA-256 of the client
    secret; sent as ``{"request": "<base64>"}``.
    """

    def __init__(self, client_secret: str) -> None:
        secret = Secret(client_secret)
        del client_secret  # no traceback may show it
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415  # an extra
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(lacking("PayloadEncryption", "encryption"), name=missing.name) from None
        if not isinstance(secret.reveal(), str) or not secret.reveal() or not secret.reveal().isprintable():
            raise InvalidRequest("PayloadEncryption: client_secret is empty, or not text in one line")
        key = Secret(sha256(secret.reveal().encode()).digest()[:_BLOCK])
        self._cipher: Final = Secret(Cipher(algorithms.AES(key.reveal()), modes.ECB()))  # noqa: S305  # the API's choice

    def seal(self, body: bytes) -> bytes:
        """The body to send in place of this one."""
        count = _BLOCK - len(body) % _BLOCK
        sealed = self._cipher.reveal().encryptor().update(body + bytes([count]) * count)
        return b'{"request":"%b"}' % b64encode(sealed)

    def open(self, body: bytes) -> bytes:
        """What a sealed body holds; one that is not sealed, as it is.

        Raises:
            ValueError: it is sealed, and cannot be deciphered with this secret.
        """
        try:
            answer = loads(body)
        except Unreadable:
            return body
        if type(answer) is not dict or len(answer) != 1 or not _ANSWER_KEYS.issuperset(answer):
            return body
        (text,) = answer.values()
        if type(text) is not str:
            return body
        sealed = b64decode("".join(text.split()), validate=True)  # some encoders break their lines
        padded = self._cipher.reveal().decryptor().update(sealed)
        count = padded[-1] if padded else 0
        if len(sealed) % _BLOCK or not 1 <= count <= _BLOCK or not padded.endswith(bytes([count]) * count):
            raise ValueError("the padding is wrong")
        return padded[:-count]


class Encryption:
    """Seals what goes out and opens what comes back."""

    def __init__(self, inner: Transport, settings: PayloadEncryption) -> None:
        self.base_url: str = getattr(inner, "base_url", "")
        self._inner = inner
        self._settings = settings

    async def send(self, request: Request, /) -> Response:
        """Send the request sealed; an answer that cannot be deciphered is read as plain if it is an error anyway."""
        if request.body:  # in place, because the layers below leave notes on the request
            request.body = self._settings.seal(request.body)
        response = await self._inner.send(request)
        try:
            return attrs.evolve(response, body=self._settings.open(response.body))
        except ValueError:
            if response.status >= 400:
                return response
        raise malformed(response, "cannot be deciphered with this client secret")

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()
