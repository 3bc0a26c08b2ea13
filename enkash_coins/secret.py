"""Values that crash reporters, logs and pickles must not see."""

from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar, final

T = TypeVar("T")


@final
class Secret(Generic[T]):
    """Keeps a value out of ``repr``, ``str``, pickles and frame locals; ``reveal()`` gives it back.

    Bare secrets in a local variable show up in crash reporters, which print the ``repr`` of every local.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T, /) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself: keep it out of local variables of frames that may raise."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied")


def made(make: Callable[[], T]) -> T | Exception:
    """What ``make`` returns, or its error without a traceback, whose frames would show the secrets it worked on."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  # raised again by the caller, whose frame holds no secret
        failure = error
    failure.__context__ = failure.__cause__ = None
    return failure.with_traceback(None)
