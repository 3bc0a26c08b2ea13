"""What may be sent. A value is checked when it is sent, and comes back as it goes out."""

import json
import operator
import re
from contextlib import suppress
from typing import SupportsIndex

import msgspec

from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CustomConfiguration

# It stands in a path: refused, not quoted, because even a quoted ".." climbs out of the path in some servers.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_TEXT = 128
# Not all that is unprintable: Hindi and Marathi names need the zero-width joiner.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_AMOUNT_LIMIT = 2**63


def checked_id(value: object) -> str:
    """A configuration's id; raises ``InvalidRequest`` for what cannot stand in a path."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidRequest(f"coin_config_id: {shown(value)} is not an id (1 to 64 of A-Z a-z 0-9 _ -)")
    return value if type(value) is str else str.__str__(value)  # what was checked, however it would format itself


def checked_text(name: str, value: object) -> str:
    """An event, or anybody else's id; raises ``InvalidRequest`` for what no server takes for a name."""
    if not isinstance(value, str):
        why = "is not text"
    elif not 0 < len(value) <= _LONGEST_TEXT:
        why = f"is not 1 to {_LONGEST_TEXT} characters long"
    elif value != value.strip():
        why = "has spaces around it"
    elif not value.isprintable() and _CONTROL.search(value):
        why = "has a control character"
    else:
        return value if type(value) is str else str.__str__(value)  # what was checked, however it would format itself
    raise InvalidRequest(f"{name}: {shown(value)} {why}")


def checked_amount(value: object) -> int:
    """Coins as an integer; raises ``InvalidRequest`` for any other number, and beyond signed 64 bits."""
    if type(value) is not int and isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with suppress(TypeError):  # a mere claim
            value = operator.index(value)  # numpy's, say
    if type(value) is not int or not -_AMOUNT_LIMIT <= value < _AMOUNT_LIMIT:
        raise InvalidRequest(f"amount: {shown(value)} is not an integer of 64 bits")
    return value


def checked_configuration(value: object) -> object:
    """A configuration as the JSON value that goes out; raises ``InvalidRequest`` for what JSON cannot say."""
    if not isinstance(value, CustomConfiguration):
        return checked_text("configuration", value)
    checked_text("configuration", value.custom)
    try:
        # By the standard library, because msgspec writes NaN as null and bytes as Base64.
        text = json.dumps(value.as_dict(), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        if "CUSTOM" not in value.extra and all(type(key) is str for key in value.extra):
            return msgspec.Raw(text)
    except (TypeError, ValueError, RecursionError):
        pass  # it cannot be written, or is no mapping
    raise InvalidRequest(
        f"configuration: {shown(value.extra)} is not the extra of a CustomConfiguration (JSON, no CUSTOM)"
    )
