"""Rows of a Parquet file, read by pyarrow (extra ``[parquet]``)."""

from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

from enkash_coins.bulk.files.problems import Unreadable
from enkash_coins.extras import lacking

#: How such a file begins.
BEGINNING: Final = b"PAR1"
_BATCH: Final = 4096
_DIGITS: Final = {"float": ".7g", "halffloat": ".3g"}  # what they hold for sure


def rows(file: IO[bytes]) -> Iterator[tuple[int, Sequence[object]]]:
    """The names of the columns as row 0, then the cells of each row, with its number from 1.

    Raises:
        Unreadable: it is damaged.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415  # an extra
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ModuleNotFoundError:
        raise Unreadable(lacking("reading Parquet", "parquet")) from None
    number = 0
    try:
        file.seek(0)
        table = ParquetFile(file)
        yield number, table.schema_arrow.names
        for batch in table.iter_batches(_BATCH):
            for cells in zip(*map(_cells, batch.columns), strict=True):
                number += 1
                yield number, cells
    except (pa.ArrowException, OSError, ValueError):
        raise Unreadable("is no Parquet file, or is damaged") from None


def _cells(column: Any) -> Sequence[object]:  # noqa: ANN401  # pyarrow has no types
    digits = _DIGITS.get(str(column.type))
    values = column.to_pylist()
    return [None if value is None else format(value, digits) for value in values] if digits else values
