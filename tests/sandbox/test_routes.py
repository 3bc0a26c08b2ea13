"""Which operation a request asks for."""

import pytest

from enkash_coins.sandbox.routes import OPERATIONS, route


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/api/v0/enkash-coins/WCC12345", ("get", "WCC12345")),
        ("PATCH", "/api/v0/enkash-coins/WCC12345", ("update", "WCC12345")),
        ("PATCH", "/api/v0/enkash-coins/a%2Fb?x=1", ("update", "a/b")),
        ("POST", "/api/v0/enkash-coins/create-coins-config", ("create", "")),
        ("POST", "/api/v0/enkash-coins/allocate-coin", ("allocate", "")),
        ("GET", "/api/v0/coins/balance?userId=EK1", ("balance", "userId=EK1")),
        ("POST", "/oauth/token", ("token", "")),
        ("PUT", "/api/v0/enkash-coins/WCC12345", ("other", "405")),
        ("GET", "/api/v0/enkash-coins/allocate-coin", ("other", "405")),
        ("GET", "/oauth/token", ("other", "405")),
        ("GET", "/", ("page", "/")),
        ("HEAD", "/events?x", ("page", "/events")),
        ("GET", "/openapi.json", ("page", "/openapi.json")),
        ("POST", "/", ("other", "405")),
        ("GET", "/page.html", ("other", "404")),
        ("GET", "/api/v0/enkash-coins/", ("other", "404")),
        ("GET", "/api/v0/enkash-coins", ("other", "404")),
        ("PATCH", "/api/v0/enkash-coins/a/b", ("other", "404")),
        ("PATCH", "/api/v0/enkash-coins/../../oauth/token", ("other", "404")),
    ],
)
def test_request_line_names_the_operation(method: str, target: str, expected: tuple[str, str]) -> None:
    """The documented paths and methods are known, three more are for people, and all others are "other"; no path is
    walked through or normalised.
    """
    assert route(method, target) == expected
    assert expected[0] in {*OPERATIONS, "page"}
