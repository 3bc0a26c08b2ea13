"""The guard against the slipped digit, as pure as it is; what a plan makes of it is tested with runs."""

import pytest

from enkash_coins import InvalidRequest
from enkash_coins.bulk.limit import refusal

HUGE = 2**63 - 1


@pytest.mark.parametrize(
    ("limit", "old", "fits", "too_much"),
    [
        ("50", 100, 150, 151),
        ("50", 100, 50, 49),
        ("50", 0, -50, 51),
        ("0", 7, 7, 8),
        ("0.5", 7, 7, 8),
        ("20%", 100, 120, 121),
        ("20%", 100, 80, 79),
        ("20%", -100, -120, -121),
        ("20%", 1, 1, 2),
        ("0.000001%", 10**8, 10**8 + 1, 10**8 + 2),
        ("100%", HUGE, 0, -1),  # where a float would no longer tell them apart
    ],
)
def test_what_is_allowed_ends_exactly_at_the_limit(limit: str, old: int, fits: int, too_much: int) -> None:
    """An amount may change by so many coins, or by such a share of what it is, up or down, and by no coin more."""
    refused = refusal(limit)
    assert refused({"amount": fits}, {"amount": old}) is None
    assert refused({"amount": too_much}, {"amount": old}) == f"would change the amount by more than {limit}"


@pytest.mark.parametrize("limit", ["1%", "100%", "1"])
def test_from_0_any_change_is_more_than_a_share(limit: str) -> None:
    """There is no percentage of nothing."""
    assert refusal(limit)({"amount": 2}, {"amount": 0}) is not None
    assert refusal(limit)({"amount": 0}, {"amount": 0}) is None


def test_without_two_amounts_nothing_is_refused() -> None:
    """The change sets none, or nobody has looked what is there."""
    assert refusal("0")({"event": "A"}, {"event": "B"}) is None
    assert refusal("0")({"amount": 5}, None) is None


def test_without_a_limit_nothing_is_refused() -> None:
    """However far it goes."""
    assert refusal(None)({"amount": HUGE}, {"amount": 0}) is None


@pytest.mark.parametrize(
    "limit",
    [
        "",
        "%",
        "-5",
        "+5",
        "5 %",
        " 5",
        "1e3",
        "ten",
        "5.",
        ".5",
        "5%%",
        "5\n",
        "\u0665",
        "1.0000001",
        "1" * 21,
        "5.5.5",
    ],
)
def test_a_limit_that_means_nothing_is_refused(limit: str) -> None:
    """It is neither a share nor an amount: nothing is guessed."""
    with pytest.raises(InvalidRequest) as caught:
        refusal(limit)
    assert str(caught.value) == f"max_change: {limit!a} is neither a share such as 20% nor an amount such as 50"


@pytest.mark.parametrize("limit", ["1" * 20, "1." + "0" * 6, "0.123456%"])
def test_the_longest_limits_are_read(limit: str) -> None:
    """Twenty digits, and six behind the point."""
    assert refusal(limit)({"amount": 5}, {"amount": 5}) is None
