"""How many requests a second are let in. Pure: the time is an argument."""

from collections import deque


class RateLimit:
    """Lets in at most so many requests in any one second; a rate that is no whole number, in the time of a whole one.

    The window slides. A bucket would let twice its rate pass in its first second, and hide a client that is too fast.

    Args:
        rate: requests per second; 0.5 means one request in two seconds.
    """

    def __init__(self, rate: float) -> None:
        size = max(1, int(rate))
        self._window = size / rate
        self._let_in: deque[float] = deque(maxlen=size)

    def wait(self, now: float) -> float:
        """0 for a request that is let in; for another, the seconds until there is room again."""
        times = self._let_in
        if len(times) == times.maxlen and (left := times[0] + self._window - now) > 0:
            return left
        times.append(now)
        return 0.0
