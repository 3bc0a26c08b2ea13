from itertools import product

import pytest

from enkash_coins import OutcomeStatus
from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.state import (
    ENDS,
    TRANSITIONS,
    Event,
    Impossible,
    Known,
    Place,
    State,
    after,
    look,
    seems_applied,
    settled,
)

# Every pair (state, event) that can be, written down once more: whoever changes the machine changes it twice.
EXPECTED = """
unread: FOUND_WANTED unchanged, FOUND_EXPECTED planned, FOUND_OTHER drifted, FOUND_NOTHING rejected, REFUSED not_sent
planned: FOUND_WANTED unchanged, FOUND_OURS applied, FOUND_OTHER drifted
planned: FOUND_NOTHING rejected, HELD unknown, CLAIMED sent
sent: RELEASED planned, APPLIED applied, MISMATCHED mismatched, REJECTED rejected, NOT_SENT not_sent, CUT_OFF unknown
unknown: FOUND_WANTED applied, FOUND_EXPECTED planned, FOUND_OTHER drifted, FOUND_NOTHING rejected, AGAIN planned
applied: AGAIN planned
unchanged: FOUND_OTHER drifted, AGAIN planned
mismatched: FOUND_OTHER drifted, AGAIN planned
rejected: FOUND_OTHER drifted, AGAIN planned
not_sent: FOUND_OTHER drifted, AGAIN planned
drifted: FORCED planned
"""
PAIRS = {
    (State(line.partition(":")[0]), Event[pair.split()[0]]): State(pair.split()[1])
    for line in EXPECTED.strip().splitlines()
    for pair in line.partition(":")[2].split(",")
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_of_state_and_event(state: State, event: Event) -> None:
    """Each pair leads to the one state that it should, or is impossible."""
    if (state, event) in PAIRS:
        assert after(state, event) is PAIRS[state, event]
    else:
        with pytest.raises(Impossible, match=f"a row that is {state} cannot be {event}"):
            after(state, event)


def test_ends_are_the_contracts() -> None:
    """Every outcome is a state, every call's end an event, and every state has a way out or is what was wanted."""
    assert {State(status) for status in OutcomeStatus} == set(State) - {State.UNREAD, State.PLANNED, State.SENT}
    assert set(ENDS) == set(OutcomeStatus) - {OutcomeStatus.UNCHANGED, OutcomeStatus.DRIFTED}
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(
    ("wanted", "known", "found", "event"),
    [
        ({"amount": 7}, None, {"amount": 5}, Event.FOUND_EXPECTED),
        ({"amount": 7}, None, {"amount": 7}, Event.FOUND_WANTED),
        ({"amount": 7}, [{"amount": 5}], {"amount": 5}, Event.FOUND_EXPECTED),
        ({"amount": 7}, [{"amount": 5}], {"amount": 7}, Event.FOUND_WANTED),
        ({"amount": 7}, [{"amount": 5}], {"amount": 6}, Event.FOUND_OTHER),
        ({"amount": 7}, [{"amount": 5}, {"amount": 6}], {"amount": 6}, Event.FOUND_EXPECTED),
        ({"amount": 7}, [{"event": "A"}], {"amount": 6}, Event.FOUND_OTHER),  # something else of it was seen
        ({"amount": 7}, [{"event": "A"}], {"event": "A"}, Event.FOUND_OTHER),
        ({"amount": 7}, [{"amount": 5, "event": "A"}], {"amount": 5, "event": "B"}, Event.FOUND_EXPECTED),
        ({"amount": 7, "event": "C"}, [{"amount": 5, "event": "A"}], {"amount": 7, "event": "A"}, Event.FOUND_EXPECTED),
        ({"amount": 7, "event": "C"}, [{"amount": 5, "event": "A"}], {"amount": 7, "event": "B"}, Event.FOUND_OTHER),
        (
            {"amount": 7, "event": "C"},
            [{"amount": 5}, {"event": "B"}],
            {"amount": 5, "event": "B"},
            Event.FOUND_EXPECTED,
        ),
        ({"company_id": "C"}, [{"amount": 5}], {"amount": 6}, Event.FOUND_EXPECTED),
        ({"amount": 7, "company_id": "C"}, [{"amount": 7}], {"amount": 7}, Event.FOUND_EXPECTED),
        ({"amount": 7, "company_id": "C"}, [{"amount": 5}], {"amount": 7}, Event.FOUND_WANTED),
        ({"amount": 7, "company_id": "C"}, None, {"amount": 7}, Event.FOUND_EXPECTED),
    ],
)
def test_reading_is_compared_with_what_is_wanted_and_known(
    wanted: Values, known: Known, found: Values, event: Event
) -> None:
    """What the run has neither seen nor set is somebody else's; only the fields that a row sets count, and one that
    sets the company is never taken for done without proof.
    """
    assert look(wanted, known, found) is event
    forced = Event.FOUND_EXPECTED if event is Event.FOUND_OTHER else event
    assert look(wanted, known, found, forced=True) is forced


def places_of(*rows: tuple[str, Values]) -> list[Place]:
    """Rows of one id, in these states."""
    return [
        Place(number, State(state), wanted, tries=int(state not in ("planned", "unchanged")))
        for number, (state, wanted) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("states", "found", "event"),
    [
        ("unknown", 5, Event.FOUND_EXPECTED),
        ("unknown", 10, Event.FOUND_WANTED),
        ("unknown", 6, Event.FOUND_OTHER),
        ("applied applied", 20, Event.FOUND_WANTED),
        ("applied applied", 10, Event.FOUND_EXPECTED),  # the first one arrived late
        ("applied applied", 6, Event.FOUND_OTHER),
        ("applied unknown", 20, Event.FOUND_WANTED),
        ("applied unknown", 10, Event.FOUND_EXPECTED),
        ("unknown applied", 20, Event.FOUND_EXPECTED),  # nobody knows about the first: both once more, in order
        ("applied rejected", 10, Event.FOUND_WANTED),
        ("applied rejected", 20, Event.FOUND_EXPECTED),
        ("applied applied", 5, Event.FOUND_EXPECTED),  # what was there before arrived late
        ("applied unknown applied", 30, Event.FOUND_EXPECTED),  # nobody knows about the one in the middle
        ("applied applied unknown", 30, Event.FOUND_WANTED),
        ("unknown unchanged", 10, Event.FOUND_WANTED),  # those that were not sent hide nothing
        ("unknown planned", 10, Event.FOUND_WANTED),
        ("unknown planned", 20, Event.FOUND_EXPECTED),
        ("unknown planned", 5, Event.FOUND_EXPECTED),
        ("unknown planned", 6, Event.FOUND_OTHER),
    ],
)
def test_what_is_in_doubt_is_settled_by_reading(states: str, found: int, event: Event) -> None:
    """The value before, those of the run's own rows, and anybody else's are told apart."""
    amounts: tuple[Values, ...] = ({"amount": 10}, {"amount": 20}, {"amount": 30})
    places = places_of(*zip(states.split(), amounts, strict=False))
    assert settled(places, [{"amount": 5}], {"amount": found}) is event
    forced = Event.FOUND_EXPECTED if event is Event.FOUND_OTHER else event
    assert settled(places, [{"amount": 5}], {"amount": found}, forced=True) is forced
    again = Event.FOUND_EXPECTED if event is Event.FOUND_WANTED else event
    assert settled(places, [{"amount": 5}], {"amount": found}, again=True) is again


BEFORE: Values = {"amount": 5, "event": "A"}


@pytest.mark.parametrize(
    ("rows", "found", "event"),
    [
        ([("applied", {"amount": 7}), ("applied", {"event": "B"})], {"amount": 7, "event": "B"}, "FOUND_WANTED"),
        ([("applied", {"amount": 7}), ("applied", {"event": "B"})], {"amount": 5, "event": "B"}, "FOUND_EXPECTED"),
        ([("applied", {"amount": 7}), ("applied", {"event": "B"})], {"amount": 7, "event": "C"}, "FOUND_OTHER"),
        ([("unknown", {"amount": 7}), ("planned", {"event": "B"})], {"amount": 7, "event": "C"}, "FOUND_WANTED"),
        ([("unknown", {"amount": 7}), ("planned", {"event": "B"})], {"amount": 5, "event": "C"}, "FOUND_OTHER"),
        ([("unknown", {"amount": 7, "company_id": "C"})], {"amount": 7, "event": "A"}, "FOUND_WANTED"),
        ([("unknown", {"amount": 7, "company_id": "C"})], {"amount": 5, "event": "A"}, "FOUND_EXPECTED"),
        ([("applied", {"amount": 7}), ("applied", {"company_id": "C"})], {"amount": 7, "event": "A"}, "FOUND_EXPECTED"),
        ([("applied", {"amount": 7}), ("rejected", {"company_id": "C"})], {"amount": 7, "event": "A"}, "FOUND_WANTED"),
        ([("applied", {"company_id": "C"}), ("applied", {"amount": 7})], {"amount": 6, "event": "A"}, "FOUND_OTHER"),
    ],
)
def test_rows_of_one_id_are_settled_together(rows: list[tuple[str, Values]], found: Values, event: str) -> None:
    """Each field is what the last row that sets it left, or some were overtaken; one that sets the company is never
    taken for done without proof.
    """
    assert settled(places_of(*rows), [BEFORE], found) is Event[event]


def test_run_that_has_seen_nothing_writes_over_anything() -> None:
    """Planned without reading: whatever is there, nobody can say that somebody else has changed it."""
    places = places_of(("applied", {"amount": 7}), ("unknown", {"amount": 9}))
    assert settled(places, None, {"amount": 6}) is Event.FOUND_EXPECTED
    assert settled(places, None, {"amount": 9}) is Event.FOUND_WANTED


BOTH: Values = {"amount": 7, "event": "B"}
COMPANY: Values = {"amount": 7, "company_id": "C"}


@pytest.mark.parametrize(
    ("rows", "known", "found", "seems"),
    [
        ([("applied", BOTH)], [BEFORE], BEFORE, True),  # a late arrival has overwritten it since
        ([("rejected", BOTH)], [BEFORE], BOTH, False),
        ([("planned", BOTH)], [BEFORE], BOTH, False),
        ([("unknown", BOTH)], [BEFORE], BOTH, True),
        ([("mismatched", BOTH)], [BEFORE], BOTH, True),
        ([("unknown", BOTH)], [BEFORE], BEFORE, False),
        ([("unknown", BOTH)], [BEFORE], {"amount": 7, "event": "A"}, False),
        ([("unknown", BOTH), ("applied", {"amount": 9})], [BEFORE], {"amount": 9, "event": "B"}, True),
        ([("unknown", BOTH), ("applied", {"amount": 9})], [BEFORE], {"amount": 9, "event": "A"}, False),
        ([("unknown", BOTH), ("applied", {"amount": 9})], [{"event": "B"}], {"amount": 9, "event": "B"}, False),
        ([("applied", {"amount": 9}), ("unknown", BOTH)], [BEFORE], {"amount": 9, "event": "B"}, False),
        ([("unknown", BOTH), ("applied", BOTH)], [BEFORE], {"amount": 9, "event": "A"}, False),  # nothing of it is left
        ([("unknown", BOTH), ("applied", {"amount": 9})], None, {"amount": 9, "event": "B"}, True),
        ([("unknown", BOTH), ("applied", {"amount": 9})], None, {"event": "B"}, True),
        ([("unknown", BOTH), ("applied", {"amount": 9})], [BEFORE], {"event": "B"}, True),
        ([("unknown", COMPANY), ("applied", {"event": "B"})], None, BOTH, False),
        ([("unknown", COMPANY), ("applied", {"event": "B"})], [BEFORE], BOTH, True),
        ([("unknown", COMPANY), ("applied", {"event": "B"})], [BEFORE], BEFORE, False),  # the amount would be there
        ([("unknown", COMPANY), ("applied", {"amount": 9})], [BEFORE], {"amount": 9}, False),  # nobody knows
        ([("unknown", COMPANY), ("applied", {"amount": 7})], [BEFORE], BOTH, False),
        ([("unknown", COMPANY), ("rejected", {"amount": 7})], [BEFORE], {"amount": 7}, True),
        ([("unknown", {"company_id": "C"})], [BEFORE], BEFORE, False),
        ([("unknown", {"company_id": "C"})], None, BEFORE, False),
    ],
)
def test_row_that_took_effect_is_recognized(
    rows: list[tuple[str, Values]], known: Known, found: Values, seems: bool
) -> None:
    """By what is left of it, where later rows have set other fields; a company proves nothing, and a refused row has
    set nothing.
    """
    places = places_of(*rows)
    place = next(place for place in places if place.wanted in (BOTH, COMPANY, {"company_id": "C"}))
    assert seems_applied(place, places, known, found) is seems
