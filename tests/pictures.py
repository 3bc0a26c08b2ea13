"""Makes the documentation's pictures anew, in a real browser: ``nox -s pictures``."""

import asyncio
from pathlib import Path

from enkash_coins import (
    CoinAllocation,
    CoinEventService,
    CoinEventUpdate,
    RetryPolicy,
)
from enkash_coins.sandbox import Sandbox
from tests.browser import browser

STATIC = Path(__file__).parents[1] / "docs" / "_static"
FAULTS = (
    "update:3=disconnect_after_apply",
    "allocate:2=rate_limited,retry_after=0",
    "update:7=server_error",
)


async def sandbox_page() -> bytes:
    """The sandbox's page, while a program works on it and some of its calls go wrong."""
    async with Sandbox(faults=FAULTS) as sandbox, browser() as page:
        await page.open(sandbox.base_url, height=860)
        await page.until("rows.size === 1001")
        async with CoinEventService.connect(sandbox.base_url, auth=sandbox.auth, retry=RetryPolicy(base=0)) as coins:
            updates = [CoinEventUpdate(f"WCC0000{number}", amount=number * 50) for number in range(1, 7)]
            gifts = [
                CoinAllocation(
                    company_id="CEK1",
                    event="REFERRAL_EVENT",
                    user_id=f"EK{user}",
                    request_id=f"order-{user}",
                )
                for user in range(1001, 1005)
            ]
            assert await coins.allocate_many(gifts, concurrency=1).failures() == []
            assert await coins.update_many(updates, concurrency=1).failures() == []
        await page.until("rows.get('WCC00006').className === 'new'")
        assert page.problems == []
        return await page.picture()


if __name__ == "__main__":
    (STATIC / "sandbox.png").write_bytes(asyncio.run(sandbox_page()))
