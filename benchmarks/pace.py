"""The adaptive pace on a virtual clock against models of hosts, beside what others do.

    python -m benchmarks.pace [--only NAME] [--seeds 5] [--policies auto,AIMD] [--write]

Prints a table, or writes it into docs/performance.md. The models, and what is asked of the pace, are those of
``tests/simulator/pace_models.py``; what is missed is in bold.
"""

import argparse
import math
import statistics
from collections import Counter

from benchmarks.pace_rivals import Aimd, Botocore, Fixed
from benchmarks.page import machine, write
from enkash_coins.layers.pace import Pace
from enkash_coins.layers.slots import Slots
from tests.simulator.pace_models import MODELS, MakePolicy, Model, Result, simulate

POLICIES: dict[str, MakePolicy] = {
    "auto": lambda _dice, ahead: Pace(Slots(clock_offset=ahead)),
    "fixed 32": lambda dice, _ahead: Fixed(dice),
    "AIMD": lambda _dice, _ahead: Aimd(),
    "botocore": lambda dice, _ahead: Botocore(dice),
}


def cell(model: Model, results: list[Result]) -> str:
    """Means over the seeds; of what is in flight, and of the requests to a dead host, the most."""
    refused = statistics.mean(result.refused for result in results)
    used = statistics.mean(result.used for result in results)
    in_flight = max(result.in_flight for result in results)
    found = statistics.mean(result.found for result in results)
    tries = max(result.tries for result in results)
    if model.tries < math.inf:
        return bold(f"{tries:,} requests", missed=tries > model.tries)
    parts = [
        bold(f"{100 * refused:.1f}", missed=refused > model.refused),
        bold(f"{100 * min(1, used):.1f}", missed=used < model.used),
        bold(f"{in_flight}", missed=in_flight > model.crowds * model.at_once + 4),
        bold(f"{found:.0f}" if found < math.inf else "never", missed=found > model.found_in),
    ]
    return " / ".join(parts)


def bold(text: str, *, missed: bool) -> str:
    """Show what is missed."""
    return f"**{text}**" if missed else text


def table(names: list[str], policies: list[str], seeds: int) -> str:
    """A line for each model, a column for each policy."""
    lines = [f"| host | {' | '.join(policies)} |", "|---" * (1 + len(policies)) + "|"]
    met = Counter[str]()
    for name in names:
        lives = {
            policy: [simulate(MODELS[name], POLICIES[policy], seed) for seed in range(seeds)] for policy in policies
        }
        shown = {policy: cell(MODELS[name], results) for policy, results in lives.items()}
        met.update(policy for policy, text in shown.items() if "**" not in text)
        lines.append(f"| {name} | {' | '.join(shown.values())} |")
    return "\n".join(
        [*lines, "", f"All met, of {len(names)}: {', '.join(f'{policy} {met[policy]}' for policy in policies)}."]
    )


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="models with this in their name")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    options = parser.parse_args()
    names = [name for name in MODELS if options.only in name]
    text = table(names, options.policies.split(","), options.seeds)
    if options.write:
        why = "\n".join(f"- {name}: {MODELS[name].why}." for name in names if MODELS[name].why)
        write("pace", f"{text}\n\nWhat misses its bound, and why:\n\n{why}\n\n{options.seeds} seeds each; {machine()}.")
    else:
        print(text)


if __name__ == "__main__":
    main()
