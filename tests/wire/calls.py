"""The five operations as a user calls them; ``allocate`` in both of its ways."""

from collections.abc import Awaitable, Callable
from typing import Final

from enkash_coins import CoinEventService, RetryPolicy

CALLS: Final[dict[str, Callable[[CoinEventService], Awaitable[object]]]] = {
    "get": lambda coins: coins.get("WCC12345"),
    "balance": lambda coins: coins.balance("EK1"),
    "update": lambda coins: coins.update("WCC12345", amount=10, configuration="DEFAULT"),
    "create": lambda coins: coins.create(
        company_id="CEK1", event="MEAL_CARD_PAYMENT", amount=6, configuration="DEFAULT"
    ),
    "allocate": lambda coins: coins.allocate(
        company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1", request_id="order-1"
    ),
    "allocate, replay": lambda coins: coins.allocate(
        company_id="CEK1", event="REFERRAL_EVENT", user_id="EK1", request_id="order-1", replay=True
    ),
}
WRITES: Final = ("update", "create", "allocate", "allocate, replay")

# No waits between tries: what is tested here is which requests leave, not when.
THREE_TRIES: Final = RetryPolicy(attempts=3, base=0)
ONE_TRY: Final = RetryPolicy(attempts=1, base=0)
