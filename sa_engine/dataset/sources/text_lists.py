"""Text lists of images: one path a line."""

from collections.abc import Iterable

from sa_engine.dataset.sources.arrays import Lines
from sa_engine.dataset.sources.collector import Collector

LIST_SUFFIXES = frozenset({b".txt", b".lst", b".list"})

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def add_lines(found: Collector, blocks: Iterable[bytes], num_bytes: int) -> None:
    """Add every line, whatever its ending.

    blocks: the text in pieces, the first of at least 3 bytes if there are so many.
    num_bytes: of all pieces.
    """
    # The last line may lack its end.
    lines = Lines(num_bytes + 1)
    rest = b""
    for place, block in enumerate(blocks):
        text = block.removeprefix(_BYTE_ORDER_MARK) if place == 0 else block
        whole, newline, rest = (rest + text).rpartition(b"\n")
        lines.add(whole + newline)
    lines.add(rest + b"\n")
    found.add_array(lines.array())
