"""The reason for a failure, out of the shapes in which servers give one."""

import html
import re
from collections.abc import Iterator
from http.client import responses
from itertools import islice
from typing import Final

from enkash_coins.display import cut

# In the order in which they are told, from the headline to single fields; without regard to case, "_" and "-".
_KEYS: Final = (
    "title",  # problem details, RFC 9457
    "error",  # Spring Boot, OAuth
    "errordescription",  # OAuth, RFC 6749
    "responsemessage",  # the API's envelope
    "errormessage",
    "message",  # sister products, Spring Boot
    "defaultmessage",  # a field's, Spring
    "msg",  # a field's, FastAPI
    "reason",  # a field's, RFC 9457
    "detail",  # problem details, FastAPI
    "details",
    "errors",  # of fields: Spring, ASP.NET, JSON:API
    "fielderrors",
    "violations",
    "invalidparams",
    "payload",  # the envelope's
)
_FIELD: Final = ("field", "loc", "name", "pointer", "property", "parameter")
# What is looked at, because eight megabytes hold millions of each.
_DEEPEST: Final = 5
_MOST_KEYS: Final = 64
_MOST_ENTRIES: Final = 8
_LONGEST: Final = 1024
_TITLE: Final = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)


def reason_in(answer: object, status: int = 0) -> str:
    """What an answer says about its failure, in one line; empty if it says nothing.

    Args:
        answer: JSON values, or the text of a page.
        status: the HTTP status; its own name is left out where more is said.
    """
    if not isinstance(answer, str):
        said = list(_texts(answer, "", _DEEPEST))
    elif page := _TITLE.search(answer):
        said = [html.unescape(page[1])]
    else:
        said = [] if answer.lstrip().startswith("<") else [answer]
    texts = list(dict.fromkeys(text for one in said if (text := " ".join(one[:_LONGEST].split()))))
    return cut(": ".join([text for text in texts if text != responses.get(status)] or texts))


def _texts(value: object, field: str, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield f"{field}: {value}" if field and value else value
    elif depth and isinstance(value, list):
        yield _joined([(field, one) for one in value[:_MOST_ENTRIES]], depth)
    elif depth and isinstance(value, dict):
        known = {key.lower().replace("_", "").replace("-", ""): key for key in islice(value, _MOST_KEYS)}
        field = next((_name(value[known[key]]) for key in _FIELD if key in known), field)
        if "errordescription" in known:
            known.pop("error", None)  # a word for programs
        telling = [value[known[key]] for key in _KEYS if key in known]
        for one in telling:
            yield from _texts(one, field, depth - 1)
        if not telling:  # fields and what is wrong with each; at the top, a text alone may be anything
            fields = [key for key in known.values() if depth < _DEEPEST or isinstance(value[key], list)]
            yield _joined([(key, value[key]) for key in fields[:_MOST_ENTRIES]], depth)


def _joined(fields: list[tuple[str, object]], depth: int) -> str:
    return "; ".join(text for field, one in fields for text in _texts(one, field, depth - 1) if text)


def _name(value: object) -> str:
    parts = value[:_MOST_ENTRIES] if isinstance(value, list) else [value]
    return ".".join(str(part) for part in parts if isinstance(part, str | int))
