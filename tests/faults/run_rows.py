"""What a simulated run is to do."""

from random import Random
from typing import Final

from enkash_coins import CoinAllocation, CoinEventCreation, CoinEventUpdate
from enkash_coins.bulk.comparison import Values
from enkash_coins.bulk.kinds import Item
from enkash_coins.models import UNSET, Unset
from enkash_coins.sandbox.world import Fields

CONFIGS: Final = 40
MAX_CHANGE: Final = 100_000
KINDS: Final = ("update", "update", "update", "allocation", "creation")
_KEYS: Final = {"company_id": "companyId", "user_id": "userId"}


def rows(kind: str, dice: Random, configs: dict[str, Fields], *, slips: bool) -> list[Item]:
    """Rows of this kind.

    Args:
        slips: some change an amount by more than is right.
    """
    if kind == "update":
        return _updates(dice, configs, slips=slips)
    given = dice.random() < 0.5
    companies = ["CEK100000" if dice.random() < 0.95 else "CEKWRONG" for _ in range(dice.choice((3, 10, 40)))]
    if kind == "creation":
        return [
            CoinEventCreation(company_id=company, event=f"NEW{number}", amount=number, configuration="DEFAULT")
            for number, company in enumerate(companies)
        ]
    return [
        CoinAllocation(
            company_id=company, event="E", user_id=f"U{number}", request_id=f"order-{number}" if given else None
        )
        for number, company in enumerate(companies)
    ]


def _updates(dice: Random, configs: dict[str, Fields], *, slips: bool) -> list[Item]:
    """Updates, some of them in several rows; some set what is there already, or a company."""
    made: list[Item] = []
    ids = dice.sample(sorted(configs), dice.choice((2, 6, 20, CONFIGS)))
    for number, id_ in enumerate(ids):
        amount: int | Unset = 1000 + number
        event: str | Unset = UNSET
        kind = dice.random()
        if kind < 0.1:
            amount = int(str(configs[id_]["amount"]))
        elif kind < 0.2 and slips:
            amount = 10 * MAX_CHANGE
        elif kind < 0.4:
            event = f"E{number}"
            amount = UNSET if kind < 0.3 else amount
        other = dice.random()
        company = UNSET if other > 0.1 else str(configs[id_]["companyId"]) if other > 0.02 else "CEKWRONG"
        name = id_ if dice.random() < 0.97 else f"NOSUCH{number}"
        if dice.random() < 0.8 or amount is UNSET or event is UNSET:
            made.append(CoinEventUpdate(name, amount=amount, event=event, company_id=company))
        else:
            made += [CoinEventUpdate(name, amount=amount), CoinEventUpdate(name, event=event, company_id=company)]
    dice.shuffle(made)
    return made


def as_sent(values: Values) -> Fields:
    """Values by the API's own keys."""
    return {_KEYS.get(name, name): value for name, value in values.items() if isinstance(value, str | int)}
