import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from enkash_coins.secret import Secret


def test_a_secret_comes_back_only_when_asked() -> None:
    """No way of showing it shows it."""
    value = {"password": "sesame"}
    secret = Secret(value)
    assert secret.reveal() is value
    assert "sesame" not in f"{secret} {secret!r} {secret!s:>5} {[secret]}"
    assert not hasattr(secret, "__dict__")


WAYS: dict[str, Callable[[object], object]] = {
    "pickle": pickle.dumps,
    "pickle protocol 0": lambda secret: pickle.dumps(secret, 0),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_neither_pickled_nor_copied(way: str) -> None:
    """A pickle may end up in a file or a queue: that is refused, without showing the value."""
    with pytest.raises(TypeError, match="a Secret is not pickled or copied") as caught:
        WAYS[way](Secret("sesame"))
    assert "sesame" not in str(caught.value)


def test_a_secret_has_no_other_attributes() -> None:
    """Nothing is hung on it by mistake."""
    secret: Any = Secret("x")
    with pytest.raises(AttributeError):
        secret.note = "sesame"
