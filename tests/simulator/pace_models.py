"""What the pace must cope with: models of hosts with their clients, and what is asked of it there."""

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random

import attrs

from tests.simulator.hosts import UNBOUNDED, Bucket, Client, Host, Policy, Varying, Window, World, always, step

MakePolicy = Callable[[Random, float], Policy]  # from dice, and the seconds that the wall clock is ahead


@attrs.frozen(kw_only=True)
class Model:
    """A host, who asks it, and what is asked of the pace.

    Attributes:
        host: makes one.
        takes: requests a second that it can serve.
        at_once: what it works on at once at the end, where that bounds what is in flight.
        clients: how many.
        joins: when all but the first begin.
        every: mean seconds between calls, for clients that have no rows; 0 for rows without end.
        lasts: seconds.
        steps: when the host changes.
        judged: seconds from which the bounds hold.
        span: seconds that must be looked at to see what is used.
        refused: share at most.
        used: share at least.
        found_in: seconds until nine tenths are used, at most.
        crowds: in flight at most, in multiples of ``at_once``, and four.
        tries: requests at most.
        held: the share that must be used where ``used`` is known to be missed.
        why: the reason.
    """

    host: Callable[[], Host]
    takes: Varying = UNBOUNDED
    at_once: float = math.inf
    clients: int = 1
    joins: float = 0.0
    every: float = 0.0
    lasts: float = 150.0
    steps: float = 0.0
    judged: float = 30.0
    span: float = 3.0
    refused: float = 0.03
    used: float = 0.97
    found_in: float = 90.0
    crowds: float = 2.0
    tries: float = math.inf
    held: float = 0.0
    why: str = ""


@attrs.frozen
class Result:
    """What came of it.

    Attributes:
        refused: share of the requests.
        used: share of what could have been served.
        in_flight: at most.
        found: seconds until nine tenths were used.
        spread: the largest share of a client by the smallest.
        tries: requests in all.
        waits: seconds that each call waited to go.
    """

    refused: float
    used: float
    in_flight: int
    found: float
    spread: float
    tries: int
    waits: list[float]


def simulate(model: Model, policy: MakePolicy, seed: int = 0) -> Result:
    """One life of a host with its clients."""
    world, host, dice = World(), model.host(), Random(seed)
    ahead = dice.uniform(0, 30)
    clients = [Client(world, host, policy(dice, ahead), dice, calls(model, dice)) for _ in range(model.clients)]
    for number, client in enumerate(clients):
        world.at(model.joins if number else 0.0, client.pump)
    in_flight = 0

    def look() -> None:
        nonlocal in_flight
        in_flight = max(in_flight, sum(client.policy.in_flight for client in clients))
        world.at(world.now + 0.0137, look)

    world.at(model.judged, look)
    world.run(model.lasts)
    answers = [refused for client in clients for when, refused in client.log if when >= model.judged]
    shares = [sum(not refused and when >= model.judged for when, refused in client.log) for client in clients]
    accepted = sorted(when for client in clients for when, refused in client.log if not refused)
    could = math.fsum(0.1 * model.takes(tenth / 10) for tenth in range(int(model.judged * 10), int(model.lasts * 10)))
    return Result(
        refused=sum(answers) / max(1, len(answers)),
        used=sum(shares) / could,
        in_flight=in_flight,
        found=found(model, accepted),
        spread=max(shares) / max(1, min(shares)),
        tries=sum(len(client.log) for client in clients),
        waits=sorted(wait for client in clients for wait in client.waits),
    )


def calls(model: Model, dice: Random) -> deque[float] | None:
    """When the calls of a client come, which has no rows."""
    if not model.every:
        return None
    times = deque([0.0])
    while times[-1] < model.lasts:
        times.append(times[-1] + dice.expovariate(1 / model.every))
    return times


def found(model: Model, accepted: list[float]) -> float:
    """Seconds from the step on until nine tenths of what the host takes are accepted."""
    end = 0
    for first, when in enumerate(accepted):
        while end < len(accepted) and accepted[end] < when + model.span:
            end += 1
        if when >= model.steps and end - first >= 0.9 * model.takes(when) * model.span:
            return when - model.steps
    return math.inf


WORK = 0.05  # seconds, where nothing else is said: a host that works on 16 at once takes 320 a second
STRICT = "each try of more costs a cycle of the rate, so that the climb takes minutes"
SLOWLY = "what it accepts until it refuses is more than its rate, and hides it"
COARSE = "the pause takes a whole second, in which a bucket this small runs over"


def _busy(at_once: float | Varying, does: str, **more: object) -> Callable[[], Host]:
    queue = {"refuses more": 0.0, "4 wait": 4.0, "all wait": math.inf}[does]
    return partial(Host, at_once=at_once if callable(at_once) else always(at_once), queue=queue, **more)  # type: ignore[arg-type]


def _bucket(rate: float, burst: float, **more: object) -> Callable[[], Host]:
    return partial(Host, quota=partial(Bucket, always(rate), burst), **more)  # type: ignore[arg-type]


def _window(quota: int, seconds: float, *, slides: bool = False, **more: object) -> Callable[[], Host]:
    return partial(Host, quota=partial(Window, quota, seconds, slides=slides), **more)  # type: ignore[arg-type]


def _models() -> dict[str, Model]:
    models: dict[str, Model] = {}
    for at_once in (1, 4, 16, 64):
        for does in ("refuses more", "4 wait", "all wait"):
            models[f"{at_once} at once, {does}"] = Model(
                host=_busy(at_once, does), takes=always(at_once / WORK), at_once=at_once
            )
    sixteen = partial(Model, takes=always(320), at_once=16)
    for does in ("refuses more", "all wait"):
        models[f"4, later 16 at once, {does}"] = sixteen(
            host=_busy(step(4, 16), does), takes=step(80, 320), steps=60, judged=150, lasts=240
        )
        models[f"16, later 4 at once, {does}"] = Model(
            host=_busy(step(16, 4), does), takes=step(320, 80), at_once=4, steps=60, judged=63
        )
        models[f"16 at once, {does}, noise"] = sixteen(
            host=_busy(16, does, works=lambda dice: WORK * dice.lognormvariate(-0.32, 0.8))
        )
        models[f"16 at once, {does}, heavy tails"] = sixteen(
            host=_busy(16, does, works=lambda dice: WORK / 3 * min(600.0, dice.paretovariate(1.5)))
        )
        models[f"16 at once, {does}, cold start"] = sixteen(host=_busy(16, does, slower=step(10, 1, at=5)))
        models[f"16 at once, {does}, stalls of 5 s"] = sixteen(
            host=_busy(16, does, stalls=30.0), takes=lambda now: 320 * (now < 30 or now % 30 >= 5)
        )
        models[f"16 at once, {does}, 4 clients"] = sixteen(host=_busy(16, does), clients=4, crowds=4.0, used=0.9)
    models["16 at once, all wait, 1 % random"] = sixteen(host=_busy(16, "all wait", random=0.01), used=0.8)
    for times, judged, why in ((3, 150.0, ""), (10, 300.0, "only half as slow again is believed each half minute")):
        models[f"16 at once, all wait, later {times} times as slow"] = sixteen(
            host=_busy(16, "all wait", slower=step(1, times)), takes=step(320, 320 / times),
            steps=60, judged=judged, lasts=judged + 150, span=20.0, why=why,
        )  # fmt: skip
    models["16 at once, refuses more, Retry-After"] = sixteen(host=_busy(16, "refuses more", says_when=True))
    models["16 at once, refuses more, no connection from 60 s to 90 s"] = sixteen(
        host=_busy(16, "refuses more", dead="refused", dead_at=lambda now: 60 <= now < 90), steps=90, judged=100
    )
    models["16 at once, 80 ms away, refuses more"] = Model(
        host=_busy(16, "refuses more", away=0.08),
        takes=always(320),
        at_once=42,  # with those that are on the way
        held=0.75,
        why="to fill it, more would have to arrive than it takes at once",
    )
    models["4 at once, refuses more after 0.2 s"] = Model(
        host=_busy(4, "refuses more", refuses_after=0.2), takes=always(80), at_once=4, held=0.8, why=STRICT
    )
    models["50/s, later 200/s"] = Model(
        host=partial(Host, quota=partial(Bucket, step(50, 200), 50)),
        takes=step(50, 200), steps=60, found_in=120, judged=180, lasts=300,
    )  # fmt: skip
    models["200/s, later 50/s"] = Model(
        host=partial(Host, quota=partial(Bucket, step(200, 50), 50)), takes=step(200, 50), steps=60, judged=63
    )
    for says_when, told in ((False, ""), (True, ", Retry-After")):
        hundred = partial(Model, takes=always(100))
        models[f"100/s{told}"] = hundred(host=_bucket(100, 100, says_when=says_when))
        models[f"100/s, 20 at once{told}"] = hundred(
            host=_bucket(100, 20, says_when=says_when), held=0.94, why=COARSE if told else SLOWLY
        )
        models[f"10/s{told}"] = Model(host=_bucket(10, 10, says_when=says_when), takes=always(10), span=10.0)
        models[f"window of 100 in 10 s{told}"] = Model(
            host=_window(100, 10, says_when=says_when), takes=always(10),
            used=0.9, span=20.0, judged=30.0 if told else 40.0,
        )  # fmt: skip
        models[f"window of 1,000 in 60 s{told}"] = Model(
            host=_window(1000, 60, says_when=says_when), takes=always(1000 / 60),
            used=0.9, span=60.0, judged=100.0 if told else 160.0, lasts=460.0,
        )  # fmt: skip
    models["window of 100 in 10 s, sliding"] = Model(
        host=_window(100, 10, slides=True), takes=always(10), used=0.9, span=20.0, judged=40.0
    )
    models["window of 100 in 1 s, sliding, Retry-After"] = Model(
        host=_window(100, 1, slides=True, says_when=True), takes=always(100), used=0.9
    )
    models["50/s, never two at once"] = Model(host=_bucket(50, 1), takes=always(50), held=0.75, why=STRICT)
    models["2/s, 1 s away"] = Model(
        host=_bucket(2, 2, away=1.0), takes=always(2), span=20.0, judged=60.0, lasts=300.0,
    )  # fmt: skip
    models["4 at once, 100 in 10 s"] = Model(
        host=_window(100, 10, at_once=always(4)), takes=always(10), used=0.9, span=20.0, judged=40.0
    )
    models["100/s, 1 % random"] = Model(host=_bucket(100, 100, random=0.01), takes=always(99), used=0.8)
    models["100/s, 4 clients"] = Model(host=_bucket(100, 100), takes=always(100), clients=4, used=0.9, lasts=300.0)
    models["100/s, a second client from 60 s on"] = Model(
        host=_bucket(100, 100), takes=always(100), clients=2, joins=60.0, used=0.9, judged=180.0, lasts=480.0
    )
    for dead in ("refused", "silent", "503"):
        models[f"dead: {dead}"] = Model(
            host=partial(Host, dead=dead), refused=1.0, used=0.0, found_in=math.inf, tries=100, lasts=300.0
        )
    return models


MODELS = _models()
