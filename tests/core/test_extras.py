import json
from importlib import metadata
from typing import Any

import pytest

from enkash_coins.extras import lacking


class Installed:
    """A distribution with this note on where it came from (PEP 610)."""

    def __init__(self, origin: str | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        return self.origin if name == "direct_url.json" else None


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'enkash-coins[excel]'"),
        ({"url": "file:///my/folder", "dir_info": {}}, "pip install 'enkash-coins[excel] @ file:///my/folder'"),
        (
            {"url": "file:///my%20folder", "dir_info": {"editable": True}},
            "pip install -e '/my folder[excel]'",
        ),
        (
            {"url": "file:///x/enkash_coins-1-py3-none-any.whl", "archive_info": {}},
            "pip install 'enkash-coins[excel] @ file:///x/enkash_coins-1-py3-none-any.whl'",
        ),
        (
            {"url": "https://git.example/coins.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'enkash-coins[excel] @ git+https://git.example/coins.git@abc'",
        ),
    ],
    ids=["index", "folder", "editable", "wheel", "repository"],
)
def test_an_extra_is_installed_from_where_the_package_came(
    monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None, command: str
) -> None:
    """The line can be pasted: a package that is on no index is not looked for on one."""
    note = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(note))
    assert lacking("Reading spreadsheets", "excel") == f"Reading spreadsheets is an extra: {command}"


@pytest.mark.parametrize("origin", ["", "{", None])
def test_whatever_is_known_of_the_origin_there_is_a_command(
    monkeypatch: pytest.MonkeyPatch, origin: str | None
) -> None:
    """A broken note, or a package that is not installed but only lies on the path, is no reason for a traceback."""

    def distribution(_: str) -> Installed:
        if origin is None:
            raise metadata.PackageNotFoundError
        return Installed(origin)

    monkeypatch.setattr(metadata, "distribution", distribution)
    assert lacking("It", "cli") == "It is an extra: pip install 'enkash-coins[cli]'"
