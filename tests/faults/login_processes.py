# ruff: noqa: T201  # a program prints
"""A program that logs in from several processes at once and kills them, run by ``test_login_kills`` with the URL.

It loads the package once, and then forks: so a process is there in milliseconds, and many can be killed. For each line
of JSON that it reads, it starts a process for each of ``kills``, kills it after so many seconds (``null``: lets it
end), and says how each ended when all of them are gone.
"""

import asyncio
import json
import os
import signal
import sys
import time

from enkash_coins import CoinEventService, EnkashError, FileGuard, PasswordGrant, RetryPolicy

(URL,) = sys.argv[1:]
ENDS = ("fine", "LoginRefused", "LoginSuspended", "in doubt", "RateLimited")


class At(FileGuard):
    """The guard at a moment that is told: a test passes minutes without waiting for them."""

    moment = 0.0

    def now(self) -> float:
        """That moment."""
        return self.moment


async def log_in(path: str, now: float, timeout: float) -> str:  # noqa: ASYNC109  # the client's own
    """How one call ended, which needs a login."""
    guard = At(path)
    guard.moment = now
    auth = PasswordGrant("client", "client-secret", "user", "password", guard=guard)
    async with CoinEventService.connect(URL, auth=auth, timeout=timeout, retry=RetryPolicy(attempts=1)) as coins:
        try:
            await coins.balance("EK1")
        except EnkashError as error:
            name = type(error).__name__
            return name if name in ENDS else "in doubt"
    return "fine"


def start(path: str, now: float, timeout: float) -> int:
    """A process that logs in, and tells by its exit code how that ended."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        code = ENDS.index(asyncio.run(log_in(path, now, timeout)))
    finally:
        os._exit(code)


def main() -> None:
    """Until nothing more is to be read."""
    for line in sys.stdin:
        order = json.loads(line)
        processes = [start(order["guard"], order["now"], order["timeout"]) for _ in order["kills"]]
        began = time.monotonic()
        killed = zip(order["kills"], processes, strict=True)
        for after, process in sorted((after, process) for after, process in killed if after):
            time.sleep(max(0.0, began + after - time.monotonic()))
            os.kill(process, signal.SIGKILL)  # ours still, even if it has ended: it was not waited for
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        print(json.dumps(["killed" if code == -signal.SIGKILL else ENDS[code] for code in codes]), flush=True)


main()
