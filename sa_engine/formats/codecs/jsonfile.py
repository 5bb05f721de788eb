"""Large JSON files piece by piece: one element of a long array in memory at a time.

A first pass says where each element lies; any of them can then be read again alone. Elements are
parsed by the standard library, so the text is held to its grammar throughout.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa_engine.errors import AnnotationError

_WINDOW = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """Where a value lies in the file: offset and size in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Element:
    """A value met on the way through a file.

    key: the member of the outermost object that it belongs to; "" in an outermost array.
    in_array: it is one element of an array, rather than the member's whole value, which an empty
        array is.
    """

    key: str
    in_array: bool
    span: ByteSpan
    value: Any
    was_utf8: bool


class JsonFile:
    """A JSON file whose outermost value is an object or an array.

    Raises AnnotationError, with the byte where it goes wrong, for anything that is not JSON.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0
        self._data: bytes | None = None
        try:
            with path.open("rb") as file:
                head = file.read(4)
                mark, encoding = next(
                    ((m, e) for m, e in _MARKS if head.startswith(m)), (b"", "utf-8")
                )
                self._start = len(mark)
                self._size = os.fstat(file.fileno()).st_size
                if encoding != "utf-8":
                    # Rare; the price is the whole file in memory.
                    self._data = (head + file.read()).decode(encoding).encode()
                    self._start, self._size = 0, len(self._data)
        except OSError as error:
            raise AnnotationError(f"cannot read {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise AnnotationError(f"{path} is not the {encoding} that it says it is") from error
        self._descriptor: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]  # just shown not to be None

    def outermost(self) -> str:
        """ "{" or "[": what the file holds."""
        reader = _Reader(self, self._start)
        first = reader.peek()
        if first not in ("{", "["):
            raise reader.error("expected { or [")
        return first

    def elements(self) -> Iterator[Element]:
        """Every member of the outermost object, arrays element by element; or the array's."""
        reader = _Reader(self, self._start)
        if reader.peek() == "[":
            yield from _array(reader, "")
        else:
            reader.take("{")
            more = reader.peek() != "}"
            while more:
                key, _, _ = reader.value()
                if not isinstance(key, str):
                    raise reader.error("expected a name in quotes")
                reader.take(":")
                if reader.peek() == "[":
                    yield from _array(reader, key)
                else:
                    value, span, was_utf8 = reader.value()
                    yield Element(key, False, span, value, was_utf8)
                more = reader.goes_on("}")
            reader.take("}")
        if reader.peek():
            raise reader.error("expected the end of the file")

    def whole(self) -> ByteSpan:
        """Where the file's outermost value lies."""
        return ByteSpan(self._start, self._size - (self._start if self._data is None else 0))

    def bytes(self, span: ByteSpan) -> bytes:
        """The file's bytes there; fewer only at its end."""
        if self._data is not None:
            return self._data[span.offset : span.offset + span.size]
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._descriptor, span.size, span.offset)

    def value(self, span: ByteSpan) -> tuple[Any, bool]:
        """The value there, and whether its text was UTF-8."""
        return parse(self.bytes(span))


def parse(data: bytes) -> tuple[Any, bool]:
    """A JSON value and whether its text was UTF-8; text that is not is read as Windows-1252.

    Raises ValueError or RecursionError if it is not JSON.
    """
    try:
        return _decoder.decode(data.decode()), True
    except UnicodeDecodeError:
        return _decoder.decode(data.decode("cp1252", "replace")), False


def parse_file(data: bytes) -> tuple[Any, bool]:
    """`parse` for a whole file, which may begin with a byte order mark."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoder.decode(
                data[len(mark) :].decode() if encoding == "utf-8" else data.decode(encoding)
            ), True
    return parse(data)


def _array(reader: "_Reader", key: str) -> Iterator[Element]:
    start = reader.take("[")
    more = reader.peek() != "]"
    if not more and key:
        yield Element(key, False, ByteSpan(start, reader.position + 1 - start), [], True)
    while more:
        value, span, was_utf8 = reader.value()
        yield Element(key, True, span, value, was_utf8)
        more = reader.goes_on("]")
    reader.take("]")


class _Reader:
    """A window of the file that moves forward.

    Bytes are held as Latin-1, one character each, so that positions are offsets in the file;
    strings beyond ASCII are read again from their bytes.
    """

    def __init__(self, file: JsonFile, start: int) -> None:
        self._file = file
        self._base = start
        self._position = 0
        self._text = ""
        self._at_end = False
        self._extend(_WINDOW)

    def error(self, what: str) -> AnnotationError:
        where = self._base + self._position
        if self._at_end and self._position >= len(self._text):
            return AnnotationError(
                f"{self._file.path} ends too early, at byte {where} ({what}): it was cut short; "
                "get a whole copy"
            )
        return AnnotationError(f"{self._file.path} is not JSON at byte {where}: {what}")

    def peek(self) -> str:
        """The next character that is not space; "" at the end of the file."""
        while True:
            found = _SPACE.match(self._text, self._position)
            self._position = found.end() if found else self._position
            if self._position < len(self._text):
                return self._text[self._position]
            if self._at_end:
                return ""
            self._extend(_WINDOW)

    @property
    def position(self) -> int:
        """Offset in the file of what comes next."""
        return self._base + self._position

    def take(self, character: str) -> int:
        """Pass over a character; its offset in the file."""
        if self.peek() != character:
            raise self.error(f"expected {character}")
        self._position += 1
        return self.position - 1

    def goes_on(self, closing: str) -> bool:
        """After an element: whether another one follows."""
        following = self.peek()
        if following == ",":
            self._position += 1
            return True
        if following != closing:
            raise self.error(f"expected , or {closing}")
        return False

    def value(self) -> tuple[Any, ByteSpan, bool]:
        """The next value, where it lies, and whether its text was UTF-8."""
        self.peek()
        size = _WINDOW
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._position)
                # A number at the window's end may go on behind it; its "." or "e+" is no part of it
                # as long as the digits after that are not seen.
                if end + 2 < len(self._text) or self._at_end:
                    break
            except json.JSONDecodeError as error:
                if self._at_end:
                    raise self._explain(error) from error
            except (ValueError, RecursionError) as error:
                raise self.error(str(error)) from error
            self._extend(size)
            size *= 2
        span = ByteSpan(self._base + self._position, end - self._position)
        was_utf8 = True
        if not self._text.isascii():
            text = self._text[self._position : end]
            if not text.isascii():
                value, was_utf8 = parse(text.encode("latin-1"))
        self._position = end
        return value, span, was_utf8

    def _explain(self, error: json.JSONDecodeError) -> AnnotationError:
        # A string without an end is blamed on its beginning: the file stops inside it.
        cut = error.msg.startswith("Unterminated string")
        self._position = len(self._text) if cut else min(error.pos, len(self._text))
        return self.error(error.msg)

    def _extend(self, size: int) -> None:
        more = self._file.bytes(ByteSpan(self._base + len(self._text), max(size, _WINDOW)))
        self._at_end = not more
        self._base += self._position
        self._text = self._text[self._position :] + more.decode("latin-1")
        self._position = 0
