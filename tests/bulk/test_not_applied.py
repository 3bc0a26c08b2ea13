import json
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from enkash_coins.bulk.not_applied import NotApplied
from enkash_coins.bulk.rows import UpdateFile
from enkash_coins.bulk.source import BadFile, Source

Opener = Callable[[Path], UpdateFile]


@pytest.fixture
def checked() -> Iterator[Opener]:
    """Opens and checks an update file; closes it after the test."""
    with ExitStack() as stack:
        yield lambda path: UpdateFile(stack.enter_context(Source(str(path))))


@pytest.fixture
def rows(tmp_path: Path, checked: Opener) -> UpdateFile:
    """A file of five rows about three configurations."""
    path = tmp_path / "u.csv"
    path.write_text('amount,coinConfigId,event\n1,A,\n2,B,"a, b"\n3,A,\n-4,C,=X\n5,A,\n', encoding="utf-8")
    return checked(path)


def kept(rows: UpdateFile, outcomes: str, path: str | None = None) -> Path | None:
    """Keep rows by what became of them, one letter each: + for applied, - for rejected."""
    with NotApplied(rows, path) as rest:
        for row, letter in zip(rows, outcomes, strict=True):
            applied = letter == "+"
            rest.keep(row, "applied" if applied else "rejected", "" if applied else "no", applied=applied)
        rest.finish()
    return rest.path


def test_rows_go_back_as_they_came(tmp_path: Path, rows: UpdateFile) -> None:
    """Columns and values stand as in the file that was applied, and outcome and reason beside them."""
    path = kept(rows, "+-+-+")
    assert path == tmp_path / "u.not-applied.csv"
    assert path.read_text(encoding="utf-8") == (
        'amount,coinConfigId,event,outcome,reason\n2,B,"a, b",rejected,no\n-4,C,=X,rejected,no\n'
    )


def test_it_can_be_applied_again(rows: UpdateFile, checked: Opener) -> None:
    """The file of rows that were not applied is an update file of just these rows."""
    path = kept(rows, "-----")
    assert path is not None
    assert [row.update for row in checked(path)] == [row.update for row in rows]


def test_later_rows_of_an_id_that_failed_are_kept_even_if_applied(rows: UpdateFile) -> None:
    """An old value must not overtake a newer one when the failed row is applied again."""
    path = kept(rows, "-+++-")
    assert path is not None
    assert path.read_text(encoding="utf-8").splitlines()[1:] == [
        "1,A,,rejected,no",
        '3,A,,applied,"to be repeated after line 2, an earlier row of the same id that was not applied"',
        "5,A,,rejected,no",
    ]


def test_earlier_rows_of_an_id_that_failed_later_are_not_repeated(rows: UpdateFile) -> None:
    """What was applied before the failure stays applied."""
    path = kept(rows, "++-++")
    assert path is not None
    assert [line[0] for line in path.read_text(encoding="utf-8").splitlines()[1:]] == ["3", "5"]


def test_json_lines_stay_json_lines(tmp_path: Path, checked: Opener) -> None:
    """The format is the input's, earlier remarks give way to the new ones, and text stays readable."""
    path = tmp_path / "u.ndjson"
    path.write_text('{"coinConfigId": "A", "event": "é", "outcome": "?"}\n', encoding="utf-8")
    rest = kept(checked(path), "-")
    assert rest == tmp_path / "u.not-applied.ndjson"
    assert (
        rest.read_text(encoding="utf-8")
        == '{"coinConfigId": "A", "event": "é", "outcome": "rejected", "reason": "no"}\n'
    )
    assert checked(rest).count == 1


@pytest.mark.parametrize("reason", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_reasons_are_no_formulas(rows: UpdateFile, reason: str) -> None:
    """A reason, which may hold remote text, is no formula for a spreadsheet that opens the file."""
    with NotApplied(rows) as rest:
        rest.keep(next(iter(rows)), "rejected", reason, applied=False)
        rest.finish()
    assert rest.path is not None
    with rest.path.open(encoding="utf-8", newline="") as file:
        assert f"'{reason}" in file.read()


def test_nothing_to_keep_leaves_no_file(tmp_path: Path, rows: UpdateFile) -> None:
    """When all rows were applied there is no file, under whatever name."""
    assert kept(rows, "+++++") is None
    assert [path.name for path in tmp_path.iterdir()] == ["u.csv"]


def test_only_a_complete_file_has_the_name(tmp_path: Path, rows: UpdateFile) -> None:
    """Whoever finds the file may rely on it: until it is complete, its name says that it is not."""
    with NotApplied(rows) as rest:
        rest.keep(next(iter(rows)), "rejected", "no", applied=False)
    assert rest.path is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["u.csv", "u.not-applied.csv.unfinished"]


def test_nobody_else_may_read_it(rows: UpdateFile) -> None:
    """Amounts and ids are the business of the user alone."""
    path = kept(rows, "-----")
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_overwritten(tmp_path: Path, rows: UpdateFile, checked: Opener) -> None:
    """A name that is taken, were it by an unfinished file or a dead link, gives way to the next number."""
    (tmp_path / "u.not-applied.csv").symlink_to("nowhere")
    (tmp_path / "u.not-applied-2.csv.unfinished").touch()
    third = kept(rows, "-----")
    assert third == tmp_path / "u.not-applied-3.csv"
    assert kept(checked(third), "-----") == tmp_path / "u.not-applied-4.csv"


def test_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path: Path, rows: UpdateFile) -> None:
    """The name is free when the run begins; if it no longer is at the end, another one is taken."""
    with NotApplied(rows, str(tmp_path / "rest.csv")) as rest:
        rest.keep(next(iter(rows)), "rejected", "no", applied=False)
        (tmp_path / "rest.csv").write_text("mine", encoding="utf-8")
        rest.finish()
    assert rest.path == tmp_path / "rest-2.csv"
    assert (tmp_path / "rest.csv").read_text(encoding="utf-8") == "mine"


def test_a_given_name_is_taken_or_refused(tmp_path: Path, rows: UpdateFile) -> None:
    """A name that the user gave is used as it is; if it is taken, or says another format, nothing begins."""
    path = tmp_path / "rest.csv"
    assert kept(rows, "-----", str(path)) == path
    with pytest.raises(BadFile, match=r"rest\.csv: exists already"):
        NotApplied(rows, str(path))
    with pytest.raises(BadFile, match=r"rest\.jsonl: its name must end in \.csv, like what .*u\.csv holds"):
        NotApplied(rows, str(tmp_path / "rest.jsonl"))


def test_what_is_beside_a_file_of_unusual_name_has_the_right_ending(tmp_path: Path) -> None:
    """If the name of the input does not tell its format, that of the file beside it does."""
    path = tmp_path / "rows.txt"
    path.write_text(json.dumps({"coin_config_id": "A", "amount": 1}), encoding="utf-8")
    with Source(str(path)) as source:
        from enkash_coins.bulk.rows import Format

        assert kept(UpdateFile(source, Format.JSONL), "-") == tmp_path / "rows.not-applied.jsonl"
