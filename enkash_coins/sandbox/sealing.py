"""Encrypted bodies by EnKash's page on payouts; written apart from the client's own, so as to bear witness."""

from base64 import b64decode, b64encode
from hashlib import sha256

import msgspec
from attrs import evolve

from enkash_coins.extras import lacking
from enkash_coins.sandbox.answers import Answer


class Sealing:
    """AES-128 in ECB mode with PKCS#5 padding; the key is the first half of the client secret's SHA-256.

    Raises:
        ModuleNotFoundError: the extra is not installed.
    """

    def __init__(self, client_secret: str) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415  # an extra
            from cryptography.hazmat.primitives.padding import PKCS7  # noqa: PLC0415  # same
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(lacking("an encrypted sandbox", "encryption"), name=missing.name) from None
        key = sha256(client_secret.encode()).digest()[:16]
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305  # the API's choice
        self._padding = PKCS7(algorithms.AES.block_size)

    def open(self, body: bytes) -> bytes | None:
        """What ``{"request": "<base64>"}`` holds; ``None`` if the body is not that, or of another key."""
        decryptor, unpadder = self._cipher.decryptor(), self._padding.unpadder()
        try:
            sealed = b64decode(msgspec.json.decode(body)["request"], validate=True)
            return unpadder.update(decryptor.update(sealed) + decryptor.finalize()) + unpadder.finalize()
        except (msgspec.DecodeError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def seal(self, answer: Answer) -> Answer:
        """The same answer with its body encrypted."""
        encryptor, padder = self._cipher.encryptor(), self._padding.padder()
        sealed = encryptor.update(padder.update(answer.body) + padder.finalize()) + encryptor.finalize()
        return evolve(answer, body=msgspec.json.encode({"request": b64encode(sealed).decode()}))
