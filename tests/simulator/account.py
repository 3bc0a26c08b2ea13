"""What the contract lets out of the logins to one account, told from the past alone."""

from typing import Any


class Account:
    """A list of the logins that went out, how they ended and when; no counters.

    They ended with "+", which is a success, with "-", a refusal, or with "?", no clear answer. What does not count is
    not told here.
    """

    def __init__(self) -> None:
        self.past: list[tuple[str, str, float]] = []

    def may(self, password: str, now: float) -> str:
        """Whether a login goes out: "out", "refused", "wait" for a minute, or a person has to "look"."""
        own = [what for who, what, _ in self.past if who == password]
        if own[-1:] == ["reset"]:
            return "out"
        if "-" in after_last("+", own):
            return "refused"
        failed = [event for event in after_last("+", self.past, what=1) if event[1] in "-?"]
        if "+" in own:
            unclear = [when for _, what, when in failed if what == "?"]
            return "wait" if len(failed) >= 2 and unclear and now < unclear[-1] + 60 else "out"
        proven = {who for who, what, _ in self.past if what == "+"}
        failed_beside = proven and [who for who, _, _ in failed if who not in proven]
        return "look" if len(failed) >= 2 or failed_beside else "out"

    def met(self, password: str, what: str, now: float) -> None:
        """A login went out, and ended so."""
        self.past.append((password, what, now))

    def reset(self, password: str, now: float) -> None:
        """A person lets one login out; where it may go out anyhow, that is nothing new."""
        if self.may(password, now) != "out":
            self.past.append((password, "reset", now))

    def in_a_row(self) -> list[tuple[str, str, float]]:
        """What EnKash counts towards the lock."""
        return [event for event in after_last("+", self.past, what=1) if event[1] != "reset"]


def after_last(end: str, story: list[Any], what: int | None = None) -> list[Any]:
    """What came after the last time that this happened; all of it if it never did."""
    ends = [event if what is None else event[what] for event in story]
    return story[len(story) - ends[::-1].index(end) :] if end in ends else story
