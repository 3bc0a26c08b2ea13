"""What a simulated run is to do."""

from random import Random
from typing import Any, Final

from enkash_coins import CoinAllocation, CoinEventUpdate
from enkash_coins.models import UNSET, Unset
from enkash_coins.sandbox.world import Fields

CONFIGS: Final = 40
MAX_CHANGE: Final = 100_000

Item = CoinEventUpdate | CoinAllocation


def allocations(dice: Random) -> list[Item]:
    """Allocations, with their own ids or without; some are refused."""
    given = dice.random() < 0.5
    return [
        CoinAllocation(
            company_id="CEK1" if dice.random() < 0.95 else "CEKWRONG",
            event="REFERRAL_EVENT",
            user_id=f"U{number}",
            request_id=f"order-{number}" if given else None,
        )
        for number in range(dice.choice((3, 10, 40)))
    ]


def updates(dice: Random, configs: dict[str, Fields], *, slips: bool) -> list[Item]:
    """Updates, several of one id, of which each sets another amount or event, if it does not restore one.

    Args:
        slips: some change an amount by more than is right.
    """
    ids = dice.sample(sorted(configs), dice.choice((2, 6, CONFIGS)))
    company = str(configs[ids[0]]["companyId"])
    before: dict[str, list[int]] = {id_: [int(str(configs[id_]["amount"]))] for id_ in ids}
    rows: list[Item] = []
    for number in range(dice.choice((3, 10, 40))):
        id_ = dice.choice(ids)
        kind = dice.random()
        amount: int | Unset = 1000 + number
        event: str | Unset = UNSET
        if kind < 0.15:
            amount = dice.choice(before[id_])  # as it was at some time
        elif kind < 0.2 and slips:
            amount = 10 * MAX_CHANGE
        elif kind < 0.3:
            amount, event = UNSET, f"E{number}"
        if isinstance(amount, int):
            before[id_].append(amount)
        other = dice.random()
        rows.append(
            CoinEventUpdate(
                id_ if dice.random() < 0.97 else "NOSUCH",
                amount=amount,
                event=event,
                configuration=UNSET if other < 0.9 else dice.choice(("DEFAULT", "CUSTOM")),
                company_id=UNSET if other > 0.06 else company if other > 0.02 else "CEKWRONG",
            )
        )
    return rows


def as_sent(id_: str, wanted: dict[str, Any], *, allocates: bool) -> Fields:
    """A row as the API's own keys."""
    names = {"company_id": "companyId", "user_id": "userId"}
    fields = {names.get(name, name): value for name, value in wanted.items()}
    return fields | {"requestId": id_} if allocates else fields
