"""The one cattrs converter: it reads a configuration tolerantly, and says where and why it cannot.

cattrs by default turns ``"false"`` into ``True``, ``1.9`` into ``1`` and ``None`` into ``"None"``, and drops unknown
keys. None of that happens here.
"""

from functools import cache

import attrs
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn, override

from enkash_coins.api.codec import Unreadable, is_integer
from enkash_coins.models import CoinEventConfig, CustomConfiguration

_KNOWN_KEYS = frozenset({"coinConfigId", "configuration", "event", "amount", "companyId"})


def read_config(value: object) -> CoinEventConfig:
    """A configuration as the API shows it; raises ``Unreadable`` with the path of what is wrong."""
    try:
        return _converter().structure(value, CoinEventConfig)
    except Exception as error:  # noqa: BLE001  # cattrs raises whatever a hook raises
        lines = transform_error(error, path="payload", format_exception=_describe)
    raise Unreadable("; ".join(map(_where_and_why, lines)))


@cache
def _converter() -> Converter:
    converter = Converter()
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(str, _strict_str)
    converter.register_structure_hook(str | None, _optional_str)
    converter.register_structure_hook(str | CustomConfiguration, _configuration)
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
    return converter


def _strict_int(value: object, _: object) -> int:
    if not is_integer(value):
        raise TypeError("is not an integer of 64 bits")
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


def _describe(error: BaseException, _: type | None) -> str:
    return "is missing" if isinstance(error, KeyError) else str(error)


def _where_and_why(line: str) -> str:
    why, where = line.split(" @ ", 1)
    return f"{where} {why}"
