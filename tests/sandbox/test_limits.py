"""The rate limit, without a clock."""

import pytest

from enkash_coins.sandbox.limits import RateLimit


def test_as_many_as_the_rate_get_in_at_once_and_no_more() -> None:
    """A second has room for `rate` requests; the next has to wait until the first is a second old."""
    limit = RateLimit(3)
    assert [limit.wait(10.0) for _ in range(4)] == [0, 0, 0, 1.0]
    assert limit.wait(10.75) == 0.25
    assert limit.wait(11.0) == 0


@pytest.mark.parametrize("rate", [1, 2.5, 50])
def test_no_second_ever_sees_more_than_the_rate(rate: float) -> None:
    """Whatever second one looks at, also the first; with 2.5 a second it is 2 in whatever 0.8 seconds."""
    limit = RateLimit(rate)
    let_in = [tick / 1000 for tick in range(5000) if limit.wait(tick / 1000) == 0]
    span = int(rate) / rate
    assert max(sum(start <= time < start + span for time in let_in) for start in let_in) == int(rate)
    assert len(let_in) >= 5 * rate - 1


def test_pace_at_the_rate_is_never_refused() -> None:
    """A client that keeps to the limit does not get to feel it."""
    limit = RateLimit(8)
    assert not any(limit.wait(number / 8) for number in range(100))


def test_refused_requests_do_not_prolong_the_wait() -> None:
    """Only what is let in counts."""
    limit = RateLimit(0.5)
    assert [limit.wait(now) for now in (0.0, 0.5, 1.5, 2.0)] == [0, 1.5, 0.5, 0]
