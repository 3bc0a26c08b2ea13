"""What several of these tests need."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import enkash_coins

# Generated examples are the same on every run: a red test stays red until it is mended.
settings.register_profile("same-every-run", derandomize=True, deadline=None, database=None, max_examples=200)
settings.load_profile("same-every-run")

_PACKAGE = Path(enkash_coins.__file__).parent
CrashReport = Callable[[BaseException], str]


def _frames(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        if _PACKAGE in Path(trace.tb_frame.f_code.co_filename).parents:
            yield repr(trace.tb_frame.f_locals)
        trace = trace.tb_next


@pytest.fixture
def crash_report() -> CrashReport:
    """All that a log or a crash reporter could show of an error: its text, its fields, the locals of our frames."""

    def report(error: BaseException) -> str:
        assert error.__cause__ is None
        assert error.__context__ is None
        return "".join(traceback.format_exception_only(error)) + repr(vars(error)) + "".join(_frames(error))

    return report
