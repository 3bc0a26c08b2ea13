from itertools import product

import pytest

from enkash_coins import OutcomeStatus
from enkash_coins.bulk.rows import Values
from enkash_coins.bulk.state import ENDS, TRANSITIONS, Event, Impossible, Place, State, after, left_by, look, settled

# Every pair (state, event) that can be, written down once more: whoever changes the machine changes it twice.
EXPECTED = """
unread: FOUND_WANTED unchanged, FOUND_EXPECTED planned, FOUND_OTHER drifted, FOUND_NOTHING rejected, REFUSED not_sent
planned: FOUND_WANTED unchanged, FOUND_OURS applied, FOUND_EXPECTED planned, FOUND_OTHER drifted
planned: FOUND_NOTHING rejected, HELD unknown, CLAIMED sent
sent: RELEASED planned, APPLIED applied, MISMATCHED mismatched, REJECTED rejected, NOT_SENT not_sent, CUT_OFF unknown
unknown: FOUND_WANTED applied, FOUND_EXPECTED planned, FOUND_OTHER drifted, FOUND_NOTHING rejected, AGAIN planned
applied: FOUND_OTHER drifted, AGAIN planned
unchanged: FOUND_OTHER drifted, AGAIN planned
mismatched: FOUND_OTHER drifted, AGAIN planned
rejected: AGAIN planned
not_sent: AGAIN planned
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
    ("wanted", "expected", "found", "event"),
    [
        ({"amount": 7}, None, {"amount": 5}, Event.FOUND_EXPECTED),
        ({"amount": 7}, None, {"amount": 7}, Event.FOUND_WANTED),
        ({"amount": 7}, {"amount": 5}, {"amount": 5}, Event.FOUND_EXPECTED),
        ({"amount": 7}, {"amount": 5}, {"amount": 7}, Event.FOUND_WANTED),
        ({"amount": 7}, {"amount": 5}, {"amount": 6}, Event.FOUND_OTHER),
        ({"amount": 7}, {"amount": 5, "event": "A"}, {"amount": 5, "event": "B"}, Event.FOUND_EXPECTED),
        ({"company_id": "C"}, {"amount": 5}, {"amount": 6}, Event.FOUND_EXPECTED),
        ({"amount": 7, "company_id": "C"}, {"amount": 7}, {"amount": 7}, Event.FOUND_EXPECTED),
        ({"amount": 7, "company_id": "C"}, {"amount": 5}, {"amount": 7}, Event.FOUND_WANTED),
        ({"amount": 7, "company_id": "C"}, None, {"amount": 7}, Event.FOUND_EXPECTED),
    ],
)
def test_reading_is_compared_with_what_is_wanted_and_expected(
    wanted: Values, expected: Values | None, found: Values, event: Event
) -> None:
    """Only the fields that a row sets count; one that sets the company is never taken for done without proof."""
    assert look(wanted, expected, found) is event
    if event is Event.FOUND_OTHER:
        assert look(wanted, expected, found, forced=True) is Event.FOUND_EXPECTED


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (State.APPLIED, {"amount": 7, "event": "A"}),
        (State.UNCHANGED, {"amount": 7, "event": "A"}),
        (State.MISMATCHED, {"amount": 9}),
        (State.DRIFTED, {"amount": 9}),
        (State.REJECTED, {"amount": 5, "event": "A"}),
        (State.NOT_SENT, {"amount": 5, "event": "A"}),
        (State.UNKNOWN, None),
    ],
)
def test_rows_leave_something_behind_for_the_next_of_their_id(state: State, left: Values | None) -> None:
    """What the next row finds depends on how this one ended."""
    assert left_by(Place(0, state, {"amount": 7}, {"amount": 5, "event": "A"}, {"amount": 9})) == left


@pytest.mark.parametrize("state", [State.APPLIED, State.UNCHANGED, State.REJECTED, State.NOT_SENT])
def test_who_knows_nothing_before_a_row_knows_nothing_behind_it(state: State) -> None:
    """A row sets some of the fields: the others are what they were, whatever that is."""
    assert left_by(Place(0, state, {"amount": 7}, None)) is None


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
        ("unknown applied", 20, Event.FOUND_EXPECTED),  # nobody knows about the first: both once more, in order
        ("applied rejected", 10, Event.FOUND_WANTED),
        ("applied applied", 5, Event.FOUND_EXPECTED),  # what was there before arrived late
        ("applied unknown applied", 30, Event.FOUND_EXPECTED),  # nobody knows about the one in the middle
        ("applied applied unknown", 30, Event.FOUND_WANTED),
    ],
)
def test_what_is_in_doubt_is_settled_by_reading(states: str, found: int, event: Event) -> None:
    """The value before, those of the run's own rows, and anybody else's are told apart."""
    amounts = iter((10, 20, 30))
    places = [Place(0, State(state), {"amount": next(amounts)}, {"amount": 5}) for state in states.split()]
    assert settled(places, {"amount": found}) is event
    if event is Event.FOUND_OTHER:
        assert settled(places, {"amount": found}, forced=True) is Event.FOUND_EXPECTED


def two(first: Values, last: Values, expected: Values | None, *, state: State = State.APPLIED) -> list[Place]:
    """Two rows of one id, of which the first was applied."""
    return [Place(1, State.APPLIED, first, expected), Place(2, state, last, None)]


@pytest.mark.parametrize(
    ("places", "found", "event"),
    [
        (two({"amount": 7}, {"event": "B"}, {"amount": 5, "event": "A"}), {"amount": 7, "event": "B"}, "FOUND_WANTED"),
        (
            two({"amount": 7}, {"event": "B"}, {"amount": 5, "event": "A"}),
            {"amount": 5, "event": "B"},
            "FOUND_EXPECTED",
        ),
        (two({"amount": 7}, {"event": "B"}, {"amount": 5, "event": "A"}), {"amount": 7, "event": "C"}, "FOUND_OTHER"),
        (two({"amount": 7}, {"amount": 9}, None), {"amount": 6}, "FOUND_EXPECTED"),
        (two({"amount": 7}, {"company_id": "C"}, {"amount": 5}), {"amount": 7}, "FOUND_EXPECTED"),
        (two({"amount": 7}, {"company_id": "C"}, {"amount": 5}, state=State.REJECTED), {"amount": 7}, "FOUND_WANTED"),
        (two({"company_id": "C"}, {"amount": 7}, {"amount": 5}), {"amount": 6}, "FOUND_OTHER"),
    ],
)
def test_rows_of_one_id_are_settled_together(places: list[Place], found: Values, event: str) -> None:
    """Each field is what the last row that sets it left, or some were overtaken; one that sets the company is never
    taken for done without proof.
    """
    assert settled(places, found) is Event[event]


BEFORE: Values = {"amount": 5, "event": "A"}
REFUSED = Place(2, State.REJECTED, {"amount": 20}, BEFORE)
OTHER: Values = {"amount": -1, "event": "Z"}


@pytest.mark.parametrize(
    ("places", "others", "found", "event"),
    [
        ([REFUSED], [], {"amount": 5, "event": "B"}, "FOUND_EXPECTED"),  # it sets no event: that is not looked at
        ([REFUSED], [], {"amount": 20, "event": "A"}, "FOUND_EXPECTED"),  # as wanted, and sent again all the same
        ([REFUSED], [], {"amount": 10, "event": "A"}, "FOUND_OTHER"),
        ([REFUSED], [Place(1, State.APPLIED, {"amount": 10}, BEFORE)], {"amount": 10, "event": "A"}, "FOUND_EXPECTED"),
        ([REFUSED, Place(3, State.PLANNED, {"event": "C"}, None)], [], {"amount": 5, "event": "B"}, "FOUND_OTHER"),
        ([REFUSED, Place(3, State.PLANNED, {"event": "C"}, OTHER)], [], {"amount": 5, "event": "Z"}, "FOUND_EXPECTED"),
        (
            [Place(2, State.MISMATCHED, {"amount": 20}, BEFORE, OTHER)],
            [],
            {"amount": -1, "event": "A"},
            "FOUND_EXPECTED",
        ),
        (
            [REFUSED],
            [Place(1, State.DRIFTED, {"amount": 10}, BEFORE, OTHER)],
            {"amount": -1, "event": "A"},
            "FOUND_OTHER",
        ),
        ([Place(2, State.REJECTED, {"amount": 20}, None)], [], {"amount": 9, "event": "A"}, "FOUND_EXPECTED"),
    ],
)
def test_what_is_sent_again_is_sent_over_the_runs_own_values_only(
    places: list[Place], others: list[Place], found: Values, event: str
) -> None:
    """Those that its rows set, that an answer showed, or that were there when they were planned; of every field that
    is to be written again.
    """
    assert settled(places, found, others=others, again=True) is Event[event]
    assert settled(places, found, others=others, again=True, forced=True) is Event.FOUND_EXPECTED


def test_rows_that_are_planned_do_not_hide_what_is_in_doubt() -> None:
    """One in doubt, alone among those that were sent, is judged by its own fields; then come those of the others."""
    places = [Place(1, State.UNKNOWN, {"amount": 20}, BEFORE), Place(2, State.PLANNED, {"event": "C"}, None)]
    assert settled(places, {"amount": 20, "event": "B"}) is Event.FOUND_WANTED
    assert settled(places, {"amount": 5, "event": "A"}) is Event.FOUND_EXPECTED
    assert settled(places, {"amount": 5, "event": "B"}) is Event.FOUND_OTHER


def test_one_in_doubt_that_sets_the_company_is_done_if_the_rest_of_it_proves_that() -> None:
    """Both went in one request, and the company cannot be read back."""
    place = Place(1, State.UNKNOWN, {"company_id": "C", "amount": 20}, BEFORE)
    assert settled([place], {"amount": 20}) is Event.FOUND_WANTED
    assert settled([place], {"amount": 5}) is Event.FOUND_EXPECTED
