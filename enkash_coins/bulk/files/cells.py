"""What a cell means: the value that is sent, or why there is none. The rules are the same for every format."""

import datetime as dt
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import attrs

from enkash_coins.api.checks import checked_amount, checked_configuration, checked_id, checked_text
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.models import CustomConfiguration

#: What programs write for "nothing": SQL, Python, pandas, R, JavaScript, MySQL.
NOTHING: Final = r"null|none|nil|nan|nat|n/?a|<na>|undefined|\\n"
_TEXT_GUARD = re.compile(r'="((?:[^"]|"")*)"')  # keeps a spreadsheet from taking a text for a number
_FORMULA_GUARD = re.compile(r"'+[=+\-@\t\r]")  # keeps a spreadsheet from taking a text for a formula
_NO_VALUE = re.compile(
    rf"(?P<nothing>(?i:{NOTHING}))"
    r"|(?P<failed>#[A-Z0-9/_]+[!?]?|Err:[0-9]+)"  # Excel's; LibreOffice has numbers, too
    r"|(?P<shortened>[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-][0-9]+)"
)
_WHY: Final = {
    "nothing": "stands for nothing: leave the cell empty instead",
    "failed": "is the error of a formula",
    "shortened": "is a shortened number, its last digits are lost: format the column as text, enter it again",
    None: "",
}
_BY = "[.,'’ \xa0\u202f]"
_GROUPED = re.compile(rf"[+-]?[1-9][0-9]{{0,2}}(?:{_BY}[0-9]{{2,3}})*?({_BY})[0-9]{{3}}(?:[.,][0-9]*)?")
_LONGEST_NUMBER = 40
#: By what digits may be grouped, as a pattern: for a blank, some programs write one that does not break.
GROUPING: Final = {",": ",", ".": r"\.", "'": "['’]", "_": "_", " ": "[ \xa0\u202f]"}
#: Fields in which a leading zero counts.
IDS: Final = frozenset({"coin_config_id", "company_id", "user_id", "request_id"})


class BadCell(Exception):
    """Why a cell has no value."""


def is_empty(cell: object) -> bool:
    """Whether nothing is in it."""
    return cell is None or cell == "" or (isinstance(cell, str) and cell.isspace())


def text_of(cell: object) -> str:
    """A cell as the text that it shows; raises ``BadCell`` for what is neither text nor number."""
    match cell:
        case None:
            return ""
        case str():
            text = cell.strip()
            if not text.startswith("="):
                return text[1:] if _FORMULA_GUARD.match(text) else text
            if kept := _TEXT_GUARD.fullmatch(text):
                return kept[1].replace('""', '"').strip()
            raise BadCell("is a formula without its value: open the file in a spreadsheet, and save it")
        case bool():
            raise BadCell("is a truth value")
        case int():
            return str(cell)
        case float():
            return f"{cell:.15g}"  # all that Excel keeps, and a double surely holds
        case Decimal():
            return f"{cell:f}"
        case dt.date() | dt.time() | dt.timedelta():
            raise BadCell("is a date or a time; spreadsheets take texts like 10-12 for one: format the column as text")
    raise BadCell("is neither a text nor a number")


@attrs.frozen
class Cells:
    """How the cells of one file are read.

    Attributes:
        thousands: by what the digits of an amount may be grouped, of ``GROUPING``; ``None``: by nothing.
        allow_negative: whether an amount may be below zero.
        widths: of ids with leading zeros, by field; filled while reading.
    """

    thousands: str | None = None
    allow_negative: bool = False
    widths: dict[str, int] = attrs.field(factory=dict)

    def value(self, field: str, cell: object, *, typed: bool) -> object:
        """The value of a field; ``None`` if the cell is empty.

        Args:
            typed: the format tells texts from numbers, so that a text is meant as it stands.

        Raises:
            BadCell: it has none; the message begins with what is in the cell.
        """
        try:
            if field == "configuration" and isinstance(cell, Mapping):
                return _custom(cell)
            text = text_of(cell)
            if not text:
                return None
            return self._meant(field, text, as_it_stands=isinstance(cell, str) and (typed or cell.strip() != text))
        except InvalidRequest as error:
            why = str(error).partition(": ")[2]
        except BadCell as error:
            why = f"{shown(cell if isinstance(cell, str | list | dict) else str(cell))} {error}"
        raise BadCell(why)

    def _meant(self, field: str, text: str, *, as_it_stands: bool) -> object:
        if found := _NO_VALUE.fullmatch(text):
            raise BadCell(_WHY[found.lastgroup])
        if field == "amount":
            return self._amount(text)
        if field == "configuration" and text.startswith("{"):
            return _custom(_object(text))
        if field in IDS and text.isdecimal():
            self._compare_width(field, text, as_it_stands=as_it_stands)
        return checked_id(text) if field == "coin_config_id" else checked_text(field, text)

    def _amount(self, text: str) -> int:
        if len(text) > _LONGEST_NUMBER:
            raise BadCell("is not an integer of 64 bits")
        decimal = "[.,]"
        if self.thousands is not None:
            by, decimal = GROUPING[self.thousands], decimal.replace(self.thousands, "")
            if re.fullmatch(rf"[+-]?[0-9]{{1,3}}(?:{by}[0-9]{{2,3}})*{by}[0-9]{{3}}(?:{decimal}[0-9]*)?", text):
                text = re.sub(by, "", text)
        if self.thousands not in {",", "."} and (grouped := _GROUPED.fullmatch(text)):
            raise BadCell(f"may have its thousands grouped: if so, say --thousands '{grouped[1]}'")
        number = re.fullmatch(rf"([+-]?[0-9]+)(?:{decimal}([0-9]*))?", text)
        if number is None:
            raise BadCell("is not an integer")
        if (number[2] or "").strip("0"):
            raise BadCell("is not a whole number")
        amount = int(number[1])
        if amount < 0 and not self.allow_negative:
            raise BadCell("is negative: that needs --allow-negative")
        return checked_amount(amount)

    def _compare_width(self, field: str, text: str, *, as_it_stands: bool) -> None:
        width = self.widths.get(field, 0)
        if text[0] == "0":
            self.widths[field] = max(width, len(text))
        elif len(text) < width and not as_it_stands:
            raise BadCell(
                "has fewer digits than others of its column, which begin with 0: are its own zeros lost? "
                f'If not, keep it as text: ="{text}"'
            )


def _object(text: str) -> dict[str, object]:
    try:
        found: dict[str, object] = json.loads(text)  # what begins with { is an object, or is no JSON
    except (ValueError, RecursionError):
        raise BadCell("is not JSON") from None
    return found


def _custom(found: Mapping[str, object]) -> CustomConfiguration:
    custom = found.get("CUSTOM")
    if not isinstance(custom, str):
        raise BadCell('is not an object like {"CUSTOM": "a text"}')
    value = CustomConfiguration(custom, {key: found[key] for key in found if key != "CUSTOM"})
    checked_configuration(value)
    return value
