"""Which fault hits which request, without a server."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from random import Random
from typing import Any

import attrs
import pytest

from enkash_coins.sandbox import Fault, FaultKind
from enkash_coins.sandbox.faults import choose


def hits(faults: Iterable[Fault], operations: Iterable[str], seed: int = 0) -> list[int]:
    """The numbers, from 1 over all operations, of the requests that a fault hits."""
    faults, calls, dice, numbers = list(faults), Counter[str](), Random(seed), []
    for number, operation in enumerate(operations, 1):
        calls[operation] += 1
        if choose(faults, operation, calls, dice):
            numbers.append(number)
    return numbers


@pytest.mark.parametrize(
    ("nth", "expected"), [(1, [1]), (3, [3]), ([2, 4], [2, 4]), ({5}, [5]), (range(3, 10**12), [3, 4, 5])], ids=str
)
def test_nth_hits_exactly_the_requests_of_these_numbers(nth: int | Collection[int], expected: list[int]) -> None:
    """`nth` is one number or a collection of them, counted from 1; a range may be endless."""
    assert hits([Fault("cut", nth=nth)], ["update"] * 5) == expected


def test_nth_counts_each_operation_by_itself() -> None:
    """The second update is the second update, however many other requests come between."""
    operations = ["update", "get", "token", "get", "update"]
    assert hits([Fault("cut", on="update", nth=2)], operations) == [5]
    assert hits([Fault("cut", on="get", nth=2)], operations) == [4]


def test_nth_on_everything_counts_everything() -> None:
    """With on="*" the third request is hit, whatever it asks for."""
    assert hits([Fault("cut", nth=3)], ["update", "get", "token", "get", "update"]) == [3]


def test_without_nth_and_probability_every_request_of_the_operation_is_hit() -> None:
    """A fault that says nothing about numbers hits all requests of its operation, and no other."""
    assert hits([Fault("cut", on="get")], ["get", "update", "get", "token"]) == [1, 3]
    assert hits([Fault("cut")], ["get", "update", "other", "token"]) == [1, 2, 3, 4]


def test_same_seed_and_requests_give_the_same_faults() -> None:
    """Chance can be repeated: the seed and the order of requests decide."""
    faults = [Fault("cut", on="get", probability=0.2), Fault("hang", probability=0.2)]
    operations = ["get", "update"] * 100
    assert hits(faults, operations, seed=7) == hits(faults, operations, seed=7)
    assert hits(faults, operations, seed=7) != hits(faults, operations, seed=8)


def test_probability_is_the_share_of_requests_that_are_hit() -> None:
    """0 hits none, 1 all of them, and a quarter about a quarter."""
    operations = ["get"] * 10_000
    assert hits([Fault("cut", probability=0.0)], operations) == []
    assert len(hits([Fault("cut", probability=1.0)], operations)) == 10_000
    assert 2_300 < len(hits([Fault("cut", probability=0.25)], operations)) < 2_700


def test_first_fault_that_hits_decides() -> None:
    """The order of the list is the order of precedence."""
    faults = [Fault("cut", nth=2), Fault("hang")]
    assert choose(faults, "get", Counter(get=1), Random(0)) is faults[1]
    assert choose(faults, "get", Counter(get=2), Random(0)) is faults[0]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("explode", {}, "kind must be one of latency, rate_limited, "),
        ("cut", {"on": "delete"}, "on must be '\\*' or one of get, update, "),
        ("cut", {"nth": 1, "probability": 0.5}, "nth and probability exclude each other"),
        ("cut", {"nth": 0}, "nth must be whole numbers, from 1"),
        ("cut", {"nth": [1, -1]}, "nth must be whole numbers, from 1"),
        ("cut", {"nth": []}, "nth must be whole numbers, from 1"),
        ("cut", {"nth": range(5)}, "nth must be whole numbers, from 1"),
        ("cut", {"nth": range(5, 5)}, "nth must be whole numbers, from 1"),
        ("cut", {"nth": True}, "nth must be whole numbers, from 1"),
        ("cut", {"nth": 1.5}, "nth must be whole numbers, from 1"),
        ("cut", {"nth": "3"}, "nth must be whole numbers, from 1"),
        ("cut", {"probability": 1.1}, "'probability' must be <= 1.0: 1.1"),
        ("cut", {"probability": -0.1}, "'probability' must be >= 0.0: -0.1"),
        ("cut", {"probability": float("nan")}, "'probability' must be >= 0.0: nan"),
        ("drip", {"seconds": -1}, "'seconds' must be >= 0: -1"),
        ("drip", {"seconds": float("inf")}, "'seconds' must be < inf: inf"),
        ("drip", {"seconds": float("nan")}, "'seconds' must be >= 0: nan"),
        ("large_header", {"size": -1}, "'size' must be >= 0: -1"),
        ("cut", {"seconds": 1}, "seconds means nothing to cut"),
        ("cut", {"status": 500}, "status means nothing to cut"),
        ("html", {"retry_after": 3}, "retry_after means nothing to html"),
        ("server_error", {"status": 200}, "server_error cannot have the status 200"),
        ("server_error", {"status": 0}, "server_error cannot have the status 0"),
        ("html", {"status": 304}, "html cannot have the status 304"),
        ("html", {"status": 600}, "html cannot have the status 600"),
        ("rate_limited", {"retry_after": "1\r\nX: y"}, "retry_after must be one line of text"),
    ],
    ids=str,
)
def test_fault_that_makes_no_sense_is_refused_with_one_clear_message(
    kind: str, settings: dict[str, Any], message: str
) -> None:
    """A typo in a fault is an error where it is written, not a fault that silently never comes."""
    with pytest.raises(ValueError, match=f"^{message}"):
        Fault(kind, **settings)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("update:3=disconnect_after_apply", Fault("disconnect_after_apply", on="update", nth=3)),
        ("get=hang", Fault("hang", on="get")),
        ("=cut", Fault("cut")),
        ("*=cut", Fault("cut")),
        (":2=cut", Fault("cut", nth=2)),
        ("token:1,3=cut", Fault("cut", on="token", nth=[1, 3])),
        ("get:3-5=cut", Fault("cut", on="get", nth=range(3, 6))),
        ("get:3-=cut", Fault("cut", on="get", nth=range(3, 10**12 + 1))),
        ("*:12.5%=html,status=504", Fault("html", probability=0.125, status=504)),
        ("get=drip,seconds=0.5", Fault("drip", on="get", seconds=0.5)),
        (
            "get=server_error,status=500,retry_after=soon",
            Fault("server_error", on="get", status=500, retry_after="soon"),
        ),
        ("get=large_header,size=70000", Fault("large_header", on="get", size=70_000)),
    ],
)
def test_fault_may_be_written_as_text(text: str, fault: Fault) -> None:
    """As on the command line: the operation, which of its requests, the kind, and its settings."""
    read = Fault.parse(text)
    assert (read.nth is None) == (fault.nth is None)
    assert all((number in (read.nth or ())) == (number in (fault.nth or ())) for number in range(1, 10))
    assert attrs.evolve(read, nth=None) == attrs.evolve(fault, nth=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "kind must be one of latency, "),
        ("update", "kind must be one of latency, "),
        ("update=explode", "kind must be one of latency, .*; not 'explode'"),
        ("updat=cut", r"on must be '\*' or one of get, "),
        ("update:0=cut", "nth must be whole numbers, from 1"),
        ("update:x=cut", "invalid literal"),
        ("update:5-3=cut", "nth must be whole numbers, from 1"),
        ("update:200%=cut", "'probability' must be <= 1"),
        ("update=cut,seconds=1", "seconds means nothing to cut"),
        ("update=drip,second=1", "'second' is none of seconds, status, size, retry_after"),
        ("update=drip,seconds", "could not convert"),
    ],
)
def test_text_that_is_no_fault_is_refused_with_one_clear_message(text: str, message: str) -> None:
    """The whole text, and what is wrong with it."""
    with pytest.raises(ValueError, match=f"^{text!r} is no fault such as update:3=disconnect_after_apply: {message}"):
        Fault.parse(text)


def test_kind_may_be_a_string_or_a_member() -> None:
    """`kind="cut"` and `kind=FaultKind.CUT` are the same fault."""
    assert Fault(kind="cut") == Fault(FaultKind.CUT)
    assert Fault("cut").kind is FaultKind.CUT


@pytest.mark.parametrize(
    ("fault", "status", "headers"),
    [
        (Fault("server_error"), 503, ()),
        (Fault("server_error", status=408, retry_after=0), 408, (("Retry-After", "0"),)),
        (Fault("rate_limited", retry_after=2), 429, (("Retry-After", "2"),)),
        (Fault("rate_limited", retry_after="soon"), 429, (("Retry-After", "soon"),)),
        (Fault("operation_failed"), 200, ()),
    ],
    ids=str,
)
def test_refusals_in_the_api_s_place_wear_its_envelope(
    fault: Fault, status: int, headers: tuple[tuple[str, str], ...]
) -> None:
    """What a fault answers for the API has its envelope, with a response_code that is not 0."""
    answer = fault.answer()
    assert answer is not None
    assert (answer.status, answer.headers) == (status, headers)
    assert json.loads(answer.body)["response_code"] == 1


@pytest.mark.parametrize(
    ("fault", "status"),
    [(Fault("html"), 502), (Fault("html", status=200), 200), (Fault("html", status=599), 599)],
    ids=str,
)
def test_page_in_the_api_s_place_is_html(fault: Fault, status: int) -> None:
    """An HTML fault shows its status, even one that has no name, and no envelope."""
    answer = fault.answer()
    assert answer is not None
    assert (answer.status, answer.content_type) == (status, "text/html")
    assert answer.body.startswith(b"<html>")


@pytest.mark.parametrize(
    "kind", ["latency", "malformed", "cut", "disconnect_after_apply", "drip", "hang", "close", "large_header"]
)
def test_other_faults_leave_the_answer_to_the_api(kind: str) -> None:
    """A fault of the connection changes how an answer comes, not what it says."""
    assert Fault(kind).answer() is None
