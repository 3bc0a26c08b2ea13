"""Which operation a request asks for. Pure."""

from typing import Final
from urllib.parse import unquote

#: What requests are counted by; one that asks for no known operation is an "other".
OPERATIONS: Final = ("get", "update", "create", "allocate", "balance", "token", "other")

_CONFIGS = "/api/v0/enkash-coins/"
_FIXED = {
    "/oauth/token": ("POST", "token"),
    f"{_CONFIGS}create-coins-config": ("POST", "create"),
    f"{_CONFIGS}allocate-coin": ("POST", "allocate"),
    "/api/v0/coins/balance": ("GET", "balance"),
}
_SHOWN = ("/", "/events", "/openapi.json")
_BY_ID = {"GET": "get", "PATCH": "update"}


def route(method: str, target: str) -> tuple[str, str]:
    """The operation, and its argument: a config's id, a query, or the status that says why there is none.

    What a browser shows of the sandbox is a "page", with its path.
    """
    path, _, query = target.partition("?")
    if path in _FIXED:
        right_method, operation = _FIXED[path]
        return (operation, query) if method == right_method else ("other", "405")
    if path in _SHOWN:
        return ("page", path) if method in ("GET", "HEAD") else ("other", "405")
    config_id = path.removeprefix(_CONFIGS)
    if config_id in (path, "") or "/" in config_id:
        return "other", "404"
    return (_BY_ID[method], unquote(config_id)) if method in _BY_ID else ("other", "405")
