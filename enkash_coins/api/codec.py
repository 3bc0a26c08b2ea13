"""The one cattrs converter: bytes to models and back, strictly typed.

cattrs by default turns ``"false"`` into ``True``, ``1.9`` into ``1`` and ``None`` into ``"None"``, and drops unknown
keys; JSON libraries take ``false`` for ``0``. None of that happens here.
"""

import json
from collections.abc import Callable
from typing import Any, cast

import attrs
import orjson
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from enkash_coins.models import CoinEventConfig, CoinEventUpdate, CustomConfiguration

_KNOWN_KEYS = frozenset({"coinConfigId", "configuration", "event", "amount", "companyId"})


class Unreadable(ValueError):
    """Bytes from the server that are not what they should be; says where and why, never what."""


def _strict_int(value: object, _: object) -> int:
    if type(value) is not int:
        raise TypeError("is not an integer")
    return value


def _strict_str(value: object, _: object) -> str:
    if type(value) is not str:
        raise TypeError("is not a string")
    return value


def _optional_str(value: object, _: object) -> str | None:
    return None if value is None else _strict_str(value, str)


def _configuration(value: object, _: object) -> str | CustomConfiguration:
    if type(value) is not dict:
        return _strict_str(value, str)
    custom = value.get("CUSTOM")
    if type(custom) is not str:
        raise TypeError("has no string CUSTOM")
    return CustomConfiguration(custom, {key: value[key] for key in value if key != "CUSTOM"})


def _make_converter() -> Converter:
    converter = Converter()
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(str, _strict_str)
    converter.register_structure_hook(str | None, _optional_str)
    converter.register_structure_hook(str | CustomConfiguration, _configuration)
    converter.register_unstructure_hook(CustomConfiguration, CustomConfiguration.as_dict)
    known = make_dict_structure_fn(
        CoinEventConfig,
        converter,
        extra=override(omit=True),
        coin_config_id=override(rename="coinConfigId"),
        company_id=override(rename="companyId"),
    )

    def config(value: object, kind: type[CoinEventConfig]) -> CoinEventConfig:
        if type(value) is not dict:
            raise TypeError("is not an object")
        extra = {key: value[key] for key in value if key not in _KNOWN_KEYS}
        return attrs.evolve(known(value, kind), extra=extra)

    converter.register_structure_hook(CoinEventConfig, config)
    converter.register_unstructure_hook(
        CoinEventUpdate,
        make_dict_unstructure_fn(
            CoinEventUpdate,
            converter,
            _cattrs_omit_if_default=True,
            coin_config_id=override(omit=True),
            company_id=override(rename="companyId"),
        ),
    )
    return converter


_converter = _make_converter()
_unstructure_update: Callable[[CoinEventUpdate], dict[str, object]] = _converter.get_unstructure_hook(CoinEventUpdate)


def read_config(value: object) -> CoinEventConfig:
    """A configuration as the API shows it; raises ``Unreadable`` with the path of what is wrong."""
    return _read_documented_config(value) or _read_any_config(value)


def _read_documented_config(value: object) -> CoinEventConfig | None:
    """The four documented keys and nothing else, in a third of the converter's time; ``None`` is for the converter."""
    if type(value) is not dict or len(value) != 4:
        return None
    id_, configuration = value.get("coinConfigId"), value.get("configuration")
    event, amount = value.get("event"), value.get("amount")
    if type(id_) is str and type(configuration) is str and type(event) is str and type(amount) is int:
        return CoinEventConfig(id_, configuration, event, amount)
    return None


def _read_any_config(value: object) -> CoinEventConfig:
    try:
        return _converter.structure(value, CoinEventConfig)
    except Exception as error:  # noqa: BLE001  # cattrs raises whatever a hook raises
        lines = transform_error(error, path="payload", format_exception=_describe)
    raise Unreadable("; ".join(map(_where_and_why, lines)))


def _describe(error: BaseException, _: type | None) -> str:
    return "is missing" if isinstance(error, KeyError) else str(error)


def _where_and_why(line: str) -> str:
    why, where = line.split(" @ ", 1)
    return f"{where} {why}"


def loads(body: bytes) -> object:
    """JSON as Python values; ``NaN``, 100,000-deep arrays, a byte order mark and contradictions are ``Unreadable``."""
    reason = "is not JSON"
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # it holds the whole document: nothing of it may survive in a __context__
    else:
        # Counting first, because that costs a twentieth of reading everything again.
        if body.count(b'":') == _keys(value) or not _contradicts_itself(body):
            return cast("object", value)
        reason = "can be read in more than one way"
    raise Unreadable(reason)


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


def dumps(value: dict[str, Any]) -> bytes:
    """Compact JSON bytes, keys in the order given."""
    return orjson.dumps(value)


def update_body(update: CoinEventUpdate) -> bytes:
    """The body of an update: the API's names, without what is ``UNSET`` (``0`` is sent)."""
    return orjson.dumps(_unstructure_update(update))
