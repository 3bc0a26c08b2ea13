"""The four parts of a login: what is wrong with them, and what they are known by where they must not be kept."""

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import Final, TypeAlias

from enkash_coins.secret import Secret

NAMES: Final = ("client_id", "client_secret", "username", "password")
Credentials: TypeAlias = Secret[tuple[str, str, str, str]]
_UNSEEN: Final = {
    "\n": "a newline",
    "\r": "a carriage return",
    "\t": "a tab",
    " ": "a space",
    "\ufeff": "a byte order mark",
}


def flaw(text: object) -> str:
    """Why this is surely not what EnKash handed out; empty if nothing is wrong with it.

    A newline that a file ends with would cost one of three tries.
    """
    if not isinstance(text, str) or not text:
        return "is empty or not a text"
    for where, character in ("ends", text[-1]), ("begins", text[0]):
        if character.isspace() or character in _UNSEEN or _is_control(character):
            kind = "a control character" if _is_control(character) else "a blank"
            return f"{where} with {_UNSEEN.get(character, kind)} ({character!a})"
    if any(map(_is_control, text)):
        return "has a control character in it"
    # What a byte that is no UTF-8 becomes when it comes from the environment.
    return "is not UTF-8" if any("\ud800" <= character <= "\udfff" for character in text) else ""


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"


def fingerprint_of_account(credentials: Credentials, key: bytes) -> str:
    """What the client id and the username are known by: on a host, they are an account."""
    return hashlib.blake2b(packed(credentials.reveal()[::2]), key=key, digest_size=16).hexdigest()


def packed(texts: Iterable[str]) -> bytes:
    """The texts with their lengths, so that no others look like them."""
    return b"".join(len(text.encode()).to_bytes(4) + text.encode() for text in texts)
