"""Bytes as text: their encoding, their line ends."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO, Final

from enkash_coins.bulk.files.problems import Unreadable

_FIRST_PIECE: Final = 2**10  # with it, what is in the file is told, and what its header is
_PIECE: Final = 2**16
LONGEST_LINE: Final = 2**20
_MARKS: Final = {  # the longer before those that they begin with
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_GZIP: Final = b"\x1f\x8b"


def unpacked(file: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    """The file, or what is in it if it is one of gzip."""
    packed = file.read(2) == _GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file, mode="rb") if packed else file


def pieces(file: IO[bytes] | gzip.GzipFile, encoding: str | None) -> Iterator[str]:
    """The text, its lines ended by LF alone; a mark at its beginning counts more than what is said.

    Raises:
        Unreadable: at the first line that is not text.
    """
    line = 1
    encoding = encoding or "utf-8"
    try:
        data = file.read(_FIRST_PIECE)
        encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), encoding)
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
        while data:
            text = decoder.decode(data)
            yield _without_nul(text, line)
            line += text.count("\n")
            data = file.read(_PIECE)
        yield _without_nul(decoder.decode(b"", final=True), line)
    except UnicodeDecodeError as error:
        before = io.StringIO(error.object[: error.start].decode(encoding, "ignore"), newline=None).read()
        advice = ": say what it is with --encoding, e.g. cp1252" if encoding == "utf-8" else ""
        raise Unreadable(f"is not {encoding.removesuffix('-sig').upper()}{advice}", line + before.count("\n")) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Unreadable("the compressed file is cut off or damaged here", line) from None


def _without_nul(text: str, line: int) -> str:
    if (at := text.find("\0")) >= 0:
        raise Unreadable("has a NUL: is this a text, in UTF-8 or with a mark?", line + text.count("\n", 0, at))
    return text


def blocks(texts: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Whole lines, many at once, each block with the number of its first line; every line ends with LF."""
    line, rest = 1, ""
    for text in texts:
        end = text.rfind("\n") + 1
        if end:
            block, rest = rest + text[:end], text[end:]
            yield line, block
            line += block.count("\n")
        else:
            rest += text
        if len(rest) > LONGEST_LINE:
            raise Unreadable(f"the line is longer than {LONGEST_LINE:,} characters", line)
    if rest:
        yield line, rest + "\n"
