"""JSON to values and back, strictly: no ``"10"``, ``10.0`` or ``true`` for an integer, and nothing guessed."""

import codecs
import json
from typing import Annotated, Final, Literal, TypeGuard

import msgspec

from enkash_coins.models import UNSET, CoinEventConfig, Unset

_LIMIT: Final = 2**63
# Keys and texts of the documented answer: what has more quotation marks names a key twice, or more than we know.
_DOCUMENTED_QUOTES: Final = 2 * (7 + 4)


class Unreadable(ValueError):
    """Bytes from the server that are not what they should be; says where and why, never what."""


class UpdateBody(msgspec.Struct, omit_defaults=True, rename="camel", gc=False):
    """The body of an update, checked: what is ``UNSET`` is not sent (``0`` is)."""

    amount: int | Unset = UNSET
    configuration: object = UNSET
    company_id: str | Unset = UNSET
    event: str | Unset = UNSET


class _Config(msgspec.Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    coin_config_id: str
    configuration: str
    event: str
    amount: Annotated[int, msgspec.Meta(ge=-_LIMIT, le=_LIMIT - 1)]


class _Success(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    payload: _Config
    response_code: Literal[0]
    response_message: str


_decode = msgspec.json.Decoder().decode
_decode_success = msgspec.json.Decoder(_Success).decode
#: Compact JSON bytes, keys in the order given.
dumps: Final = msgspec.json.Encoder().encode


def documented_config(body: bytes) -> CoinEventConfig | None:
    """The configuration in an answer that is to the letter what is documented; ``None`` for any other answer."""
    if body.count(b'"') != _DOCUMENTED_QUOTES:
        return None
    try:
        found = _decode_success(body).payload
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return CoinEventConfig(found.coin_config_id, found.configuration, found.event, found.amount)


def loads(body: bytes) -> object:
    """JSON as Python values; ``NaN``, 100,000-deep arrays and contradictions are ``Unreadable``."""
    reason = "is not JSON"
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        value: object = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # some hold the whole document: nothing of it may survive in a __context__
    else:
        # Counting first, because that costs a twentieth of reading everything again.
        if body.count(b":") == _keys(value) or not _contradicts_itself(body):
            return value
        reason = "can be read in more than one way"
    raise Unreadable(reason)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a JSON value is an integer of 64 bits; ``isinstance`` would let ``false`` read as 0."""
    return type(value) is int and -_LIMIT <= value < _LIMIT


def _keys(value: object) -> int:
    """How many keys an answer has, if it is like the documented ones."""
    if type(value) is not dict:
        return 0
    payload = value.get("payload")
    return len(value) + len(payload) if type(payload) is dict else len(value)


def _contradicts_itself(body: bytes) -> bool:
    """Whether a key stands twice in one object, with different values: RFC 8259 leaves open which of them counts."""
    contradictions: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        contradictions.extend(key for key, value in pairs if found[key] != value or type(found[key]) is not type(value))
        return found

    try:
        json.loads(body, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return True  # it cannot be told: nested more deeply than Python's own reader can follow
    return bool(contradictions)
