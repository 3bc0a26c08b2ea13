"""How many requests a second are let in. Pure: the time is an argument."""

_ROUNDING = 1e-9  # seconds


class TokenBucket:
    """Lets in ``rate`` requests per second, and ``burst`` at once after a pause."""

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1 / rate
        self._ahead = (burst - 1) / rate
        self._due = 0.0  # when the next request would come from a client that keeps to the rate

    def wait(self, now: float) -> float:
        """0, or the seconds until the next token."""
        left = self._due - self._ahead - now
        if left > _ROUNDING:
            return left
        self._due = max(self._due, now) + self._interval
        return 0.0


class FixedWindow:
    """Lets in ``rate`` × ``seconds`` requests in every stretch of so many seconds, however close to each other."""

    def __init__(self, rate: float, seconds: float) -> None:
        self._most = max(1, round(rate * seconds))
        self._seconds = seconds
        self._number = self._let_in = 0

    def wait(self, now: float) -> float:
        """0, or the seconds until the next window."""
        number = int(now // self._seconds)
        if number != self._number:
            self._number, self._let_in = number, 0
        if self._let_in < self._most:
            self._let_in += 1
            return 0.0
        return (number + 1) * self._seconds - now
