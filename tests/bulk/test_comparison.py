"""The one comparison against an oracle written from the contract: every case over a small domain of values."""

from collections.abc import Iterator
from itertools import product

import pytest

from enkash_coins.bulk.comparison import GONE, Gone, State, Values, decide, readable, untouched

OURS, THEIRS, BEFORE = 10, 7, 5
OBJECT = {"CUSTOM": "a"}
WIDER = {"CUSTOM": "a", "more": 1}
OTHER = {"CUSTOM": "a", "more": 2}
#: Of each field: what is wanted, and all that may be known or found.
DOMAINS: dict[str, tuple[list[object], list[object]]] = {
    "amount": ([OURS], [OURS, THEIRS, BEFORE]),
    "event": (["ours"], ["ours", "before"]),
    "configuration": (["a", OBJECT, WIDER], ["a", OBJECT, WIDER, OTHER]),
    "company_id": (["CEK1"], [None]),
}
SETS = [fields for size in range(1, 16) if (fields := [name for at, name in enumerate(DOMAINS) if size >> at & 1])]


def cases(fields: list[str]) -> Iterator[tuple[Values, Values | None, Values | Gone | None]]:
    """All that can be wanted, known and found in these fields."""
    seen = [name for name in fields if name != "company_id"]
    images: list[Values] = [
        dict(zip(seen, values, strict=True)) for values in product(*(DOMAINS[name][1] for name in seen))
    ]
    for values in product(*(DOMAINS[name][0] for name in fields)):
        wanted = dict(zip(fields, values, strict=True))
        yield from ((wanted, known, found) for known in (None, *images) for found in (None, GONE, *images))


def as_set(found: object, wanted: object) -> bool:
    """Contract §2: an object is as wanted when every key that we set is equal; never equal to a string."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(found.get(key) == value for key, value in wanted.items())
    return not isinstance(found, dict) and found == wanted


def oracle(wanted: Values, known: Values | None, found: Values | Gone | None, *, written: bool, force: bool) -> str:
    """Contract §7, as a table: found in the fields that we set, by whether we may have written."""
    if isinstance(found, Gone):
        row = "there is no such configuration"
    elif found is None:
        row = "cannot be read"
    else:
        kinds = {
            "as wanted"
            if as_set(found[name], value)
            else "as known"
            if known is None or as_set(found[name], known[name])
            else "else"
            for name, value in wanted.items()
            if name != "company_id"
        }
        if "else" in kinds:
            row = "anything else"
        elif kinds <= {"as wanted"} and "company_id" not in wanted:  # which can't be read, so is never unchanged
            row = "all as wanted"
        else:
            row = "each as known, or as wanted"
    certainly_not, may_have = {
        "all as wanted": ("unchanged", "applied"),
        "each as known, or as wanted": ("planned", "planned"),
        "anything else": ("planned", "planned") if force else ("drifted", "drifted"),
        "there is no such configuration": ("rejected", "rejected"),
        "cannot be read": ("planned", "unknown"),
    }[row]
    return may_have if written else certainly_not


@pytest.mark.parametrize("fields", SETS, ids="+".join)
def test_every_case_is_decided_as_the_contract_says(fields: list[str]) -> None:
    """All combinations of wanted, known and found, of whether we may have written, and of force."""
    for wanted, known, found in cases(fields):
        for written, force in product((False, True), repeat=2):
            decided = decide(wanted, known, found, written=written, force=force)
            expected = oracle(wanted, known, found, written=written, force=force)
            assert decided == expected, (wanted, known, found, written, force)


@pytest.mark.parametrize("fields", SETS, ids="+".join)
def test_what_is_proven_untouched_shows_nothing_of_ours(fields: list[str]) -> None:
    """That a write has not taken effect is proven by every field being as known, and one at least not as wanted."""
    for wanted, known, found in cases(fields):
        if isinstance(found, dict):
            other = any(not as_set(found[name], wanted[name]) for name in fields if name != "company_id")
            assert untouched(wanted, known, found) == (other and found == known), (wanted, known, found)


def test_rollback_is_the_same_comparison_the_other_way_round() -> None:
    """Wanted is what was before, known is what we have left: theirs is left alone, ours goes, before is unchanged."""
    ways = {OURS: State.PLANNED, BEFORE: State.UNCHANGED, THEIRS: State.DRIFTED}
    for found, state in ways.items():
        assert decide({"amount": BEFORE}, {"amount": OURS}, {"amount": found}, written=False) is state


def test_what_cannot_be_read_is_not_compared() -> None:
    """``company_id`` is left out of what is known and found."""
    assert readable({"amount": 1, "company_id": "CEK1"}, {"amount": 2, "event": "E"}) == {"amount": 2}
