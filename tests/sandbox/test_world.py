"""What the operations do to the truth, without a server."""

import json
import time
from typing import Any

import pytest

from enkash_coins.sandbox.world import EVENTS, HISTORY, World

EXAMPLE = {"coinConfigId": "WCC12345", "configuration": "DEFAULT", "event": "INVOICE_PAYMENT", "amount": 10}
NEW = {"configuration": "DEFAULT", "companyId": "CEK1", "event": "MEAL_CARD_PAYMENT", "amount": 6}
GIFT = {"companyId": "CEK1", "event": "REFERRAL_EVENT", "requestId": "r1", "userId": "EK1"}


def make(configs: int = 5, *, seed: int = 0, dedupe: bool = True) -> World:
    """A small world."""
    return World(configs, seed=seed, dedupe=dedupe)


def ask(world: World, operation: str, argument: str, body: object = b"") -> tuple[int, Any]:
    """Status and payload of the answer; checks the envelope on the way."""
    answer = world.apply(operation, argument, body if isinstance(body, bytes) else json.dumps(body).encode())
    envelope = json.loads(answer.body)
    assert list(envelope) == ["payload", "response_code", "response_message"]
    if answer.status == 200:
        assert (envelope["response_code"], envelope["response_message"]) == (0, "Success")
    else:
        assert envelope["response_code"] == 1
        assert envelope["response_message"] == envelope["payload"]
    return answer.status, envelope["payload"]


def test_ids_are_numbered_from_one_and_the_example_is_always_there() -> None:
    """The configs are WCC00001 and so on, besides the documented WCC12345, once, also in a larger world."""
    assert list(make(3).configs) == ["WCC00001", "WCC00002", "WCC00003", "WCC12345"]
    assert list(make(0).configs) == ["WCC12345"]
    assert len(make(12_345).configs) == 12_345
    assert ask(make(), "get", "WCC12345") == (200, EXAMPLE)


def test_same_seed_makes_the_same_world() -> None:
    """The seed decides amounts, configurations and events."""
    assert make(50, seed=1).configs == make(50, seed=1).configs
    assert make(50, seed=1).configs != make(50, seed=2).configs


def test_seeded_configs_are_plausible() -> None:
    """Amounts, events and configurations look like the documents', and no company has two configs for an event."""
    configs = make(1000).configs.values()
    assert {config["event"] for config in configs} == set(EVENTS)
    assert {config["configuration"] for config in configs} == {"DEFAULT", "CUSTOM"}
    assert all(type(config["amount"]) is int and 1 <= config["amount"] <= 100 for config in configs)
    assert len({(config["companyId"], config["event"]) for config in configs}) == 1001


def test_get_shows_the_documented_keys_only() -> None:
    """The company is known to the truth, and not part of answers."""
    world = make()
    _, payload = ask(world, "get", "WCC00001")
    assert list(payload) == ["coinConfigId", "configuration", "event", "amount"]
    assert world.configs["WCC00001"] == payload | {"companyId": world.configs["WCC00001"]["companyId"]}


def test_update_sets_what_it_names_and_answers_with_the_result() -> None:
    """Fields that an update leaves out stay as they are."""
    world = make()
    before = dict(world.configs["WCC00001"])
    status, payload = ask(world, "update", "WCC00001", {"amount": 0})
    assert (status, payload["amount"]) == (200, 0)
    assert world.configs["WCC00001"] == before | {"amount": 0}
    ask(world, "update", "WCC00001", {"configuration": "NEW", "companyId": "CEK1", "event": "E", "amount": 2**63 - 1})
    assert world.configs["WCC00001"] == {
        "coinConfigId": "WCC00001", "configuration": "NEW", "companyId": "CEK1", "event": "E", "amount": 2**63 - 1
    }  # fmt: skip


def test_configuration_may_be_an_object() -> None:
    """The schema's literal form, with whatever else stands in it, comes back as it was."""
    world, custom = make(), {"CUSTOM": "summer", "since": 2026}
    assert ask(world, "update", "WCC00001", {"configuration": custom})[1]["configuration"] == custom
    assert ask(world, "create", "", NEW | {"configuration": custom})[1]["configuration"] == custom
    assert world.configs["WCC00001"]["configuration"] == custom


def test_create_makes_an_id_that_was_not_there() -> None:
    """New configs go on where the numbers end, around ids that are taken."""
    world = make(12_343)
    assert ask(world, "create", "", NEW) == (
        200,
        {"coinConfigId": "WCC12344", **{k: NEW[k] for k in NEW if k != "companyId"}},
    )
    assert ask(world, "create", "", NEW | {"event": "X"})[1]["coinConfigId"] == "WCC12346"
    assert world.configs["WCC12344"]["companyId"] == "CEK1"


def test_create_refuses_a_second_config_of_company_and_event() -> None:
    """409 while another one holds the place; free again when that one has moved or is gone."""
    world = make()
    assert ask(world, "create", "", NEW)[0] == 200
    assert ask(world, "create", "", NEW)[0] == 409
    ask(world, "update", "WCC00006", {"event": "ELSEWHERE"})
    assert ask(world, "create", "", NEW | {"event": "ELSEWHERE"})[0] == 409
    assert ask(world, "create", "", NEW)[0] == 200
    del world.configs["WCC00007"]
    assert ask(world, "create", "", NEW)[0] == 200
    assert len(world.configs) == 5 + 1 + 2


def test_allocation_adds_the_config_s_amount_as_it_is_now() -> None:
    """A user gets what the company's config for the event says, and 1 coin if there is none."""
    world = make()
    assert ask(world, "allocate", "", GIFT) == (200, "Successfully allocated enkash Coins")
    assert ask(world, "balance", "userId=EK1") == (200, 1)
    invoice = GIFT | {"event": "INVOICE_PAYMENT"}
    ask(world, "allocate", "", invoice | {"requestId": "r2"})
    assert ask(world, "balance", "userId=EK1") == (200, 11)
    world.configs["WCC12345"]["amount"] = 500
    ask(world, "allocate", "", invoice | {"requestId": "r3"})
    assert ask(world, "balance", "userId=EK1") == (200, 511)


def test_config_goes_on_holding_a_place_that_another_one_left() -> None:
    """Updates may bring two configs to one company and event; when the first moves away, the second still counts."""
    world = make()
    ask(world, "update", "WCC00001", {"companyId": "CEK1", "event": "INVOICE_PAYMENT", "amount": 70})
    ask(world, "update", "WCC12345", {"event": "ELSEWHERE"})
    ask(world, "allocate", "", GIFT | {"event": "INVOICE_PAYMENT"})
    assert ask(world, "balance", "userId=EK1") == (200, 70)


def test_everybody_is_a_user_and_starts_with_nothing() -> None:
    """Asking for a balance is no reason to remember somebody."""
    world = make()
    assert ask(world, "balance", "userId=%E2%82%AC") == (200, 0)
    assert not world._balances
    assert ask(world, "balance", "userId=")[0] == 400
    assert ask(world, "balance", "user=EK1")[0] == 400


def test_repeated_request_id_is_refused_or_allocates_again() -> None:
    """With dedupe a double is refused; without, it shows in the allocations and in the balance."""
    world = make(dedupe=True)
    assert [ask(world, "allocate", "", GIFT)[0] for _ in range(2)] == [200, 409]
    assert world.allocations == [GIFT]
    world = make(dedupe=False)
    assert [ask(world, "allocate", "", GIFT)[0] for _ in range(2)] == [200, 200]
    assert world.allocations == [GIFT, GIFT]
    assert ask(world, "balance", "userId=EK1") == (200, 2)


def test_refused_allocation_does_not_use_up_its_request_id() -> None:
    """What was not allocated may be allocated later under the same id."""
    world = make()
    assert ask(world, "allocate", "", GIFT | {"companyId": "NOPE"})[0] == 412
    assert ask(world, "allocate", "", GIFT)[0] == 200


@pytest.mark.parametrize(
    ("operation", "argument", "body", "status"),
    [
        ("get", "WCC99999", b"", 404),
        ("update", "WCC99999", {"amount": 1}, 404),
        ("update", "WCC00001", b"", 400),
        ("update", "WCC00001", b"{", 400),
        ("update", "WCC00001", b'{"amount": NaN}', 400),
        ("update", "WCC00001", b"\xff", 400),
        ("update", "WCC00001", b"[" * 100_000, 400),
        ("update", "WCC00001", [], 400),
        ("update", "WCC00001", {"amount": "10"}, 400),
        ("update", "WCC00001", {"amount": 10.0}, 400),
        ("update", "WCC00001", {"amount": True}, 400),
        ("update", "WCC00001", {"amount": None}, 400),
        ("update", "WCC00001", {"configuration": {"custom": "x"}}, 400),
        ("update", "WCC00001", {"configuration": {"CUSTOM": 1}}, 400),
        ("update", "WCC00001", {"event": {"CUSTOM": "x"}}, 400),
        ("update", "WCC00001", {"amount": 5, "companyId": "NOPE"}, 412),
        ("update", "WCC00001", {"amount": -1}, 422),
        ("update", "WCC00001", {"amount": 2**63}, 422),
        ("update", "WCC00001", {"amount": 5, "event": ""}, 422),
        *[("create", "", {k: v for k, v in NEW.items() if k != name}, 400) for name in NEW],
        ("create", "", NEW | {"amount": "6"}, 400),
        ("create", "", NEW | {"companyId": "NOPE"}, 412),
        ("create", "", NEW | {"amount": -6}, 422),
        ("create", "", NEW | {"event": "INVOICE_PAYMENT"}, 409),
        *[("allocate", "", {k: v for k, v in GIFT.items() if k != name}, 400) for name in GIFT],
        ("allocate", "", GIFT | {"userId": 1}, 400),
        ("allocate", "", GIFT | {"companyId": "NOPE"}, 412),
        ("allocate", "", GIFT | {"userId": ""}, 422),
        ("other", "404", b"", 404),
        ("other", "405", b"", 405),
    ],
    ids=lambda value: str(value)[:120],
)
def test_refused_request_changes_nothing(operation: str, argument: str, body: object, status: int) -> None:
    """Each documented refusal has its status, and takes effect in no part."""
    world, untouched = make(), make()
    assert ask(world, operation, argument, body)[0] == status
    assert world.configs == untouched.configs
    assert (world.allocations, list(world.applied)) == ([], [])


def test_writes_are_remembered_in_the_order_they_took_effect() -> None:
    """`applied` tells operation, id and body as sent, unknown keys included; reads leave no trace."""
    world = make()
    ask(world, "update", "WCC00001", {"amount": 1, "note": "x"})
    ask(world, "get", "WCC00001")
    ask(world, "allocate", "", GIFT)
    ask(world, "create", "", NEW)
    assert list(world.applied) == [
        ("update", "WCC00001", {"amount": 1, "note": "x"}),
        ("allocate", "r1", GIFT),
        ("create", "WCC00006", NEW),
    ]
    assert "note" not in world.configs["WCC00001"]


def test_past_is_bounded() -> None:
    """However many writes: only the last ones are kept."""
    world = make()
    body = b'{"amount":1}'
    for _ in range(HISTORY + 5):
        world.apply("update", "WCC00001", body)
    assert len(world.applied) == HISTORY


def test_allocating_does_not_get_slower_with_more_configs() -> None:
    """Finding the config of a company and event is no search through all of them."""
    world = make(100_000)
    ask(world, "allocate", "", GIFT)
    start = time.process_time()
    for number in range(1_000):
        ask(world, "allocate", "", GIFT | {"requestId": str(number)})
    assert time.process_time() - start < 1  # a search would take 10
