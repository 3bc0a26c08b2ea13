"""The rate limits, without a clock."""

import pytest

from enkash_coins.sandbox.limits import FixedWindow, TokenBucket


def test_a_bucket_lets_its_burst_in_at_once_and_then_the_rate() -> None:
    """After a pause there is room for the burst; then each request waits for a token."""
    bucket = TokenBucket(2, burst=3)
    assert [bucket.wait(10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.wait(10.25) == 0.25
    assert [bucket.wait(10.5), bucket.wait(10.5)] == [0, 0.5]
    assert [bucket.wait(60.0) for _ in range(4)] == [0, 0, 0, 0.5]


@pytest.mark.parametrize("rate", [0.5, 3, 50, 700])
def test_whoever_keeps_to_the_rate_is_never_refused(rate: float) -> None:
    """Also in a bucket without any room for a burst, and whatever the rounding."""
    bucket = TokenBucket(rate, burst=1)
    assert not any(bucket.wait(number / rate) for number in range(1000))


def test_refused_requests_do_not_prolong_the_wait() -> None:
    """Only what is let in counts."""
    bucket = TokenBucket(0.5, burst=1)
    assert [bucket.wait(now) for now in (0.0, 0.5, 1.5, 2.0)] == [0, 1.5, 0.5, 0]
    window = FixedWindow(1, seconds=2)
    assert [window.wait(now) for now in (0.0, 0.5, 1.0, 1.5, 2.0)] == [0, 0, 1.0, 0.5, 0]


def test_a_window_takes_its_requests_however_close_they_come() -> None:
    """Twice as many get in around the end of a window: that is how such limits are."""
    window = FixedWindow(2, seconds=5)
    assert [window.wait(now) for now in [14.9] * 10] == [0] * 10
    assert window.wait(14.5) == 0.5
    assert [window.wait(now) for now in [15.0] * 10] == [0] * 10
    assert window.wait(15.0) == 5


def test_a_window_has_room_for_one_at_least() -> None:
    """A rate that is small for its window does not shut everybody out."""
    assert FixedWindow(0.1, seconds=1).wait(0.0) == 0
