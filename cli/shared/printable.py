"""Text of files, names and ids made safe to print."""

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed: colours, titles, cursor moves
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # changes of direction
    "\u2028\u2029\ufeff\ud800-\udfff]"  # other line ends, and what no encoding holds
)


def printable(text: str) -> str:
    """The text with every character spelled out that a terminal acts upon: \\x1b, \\u202e.

    Tabs and line feeds stay, for messages have them on purpose.
    """
    return text if text.isprintable() else _UNSAFE.sub(_spelled, text)


def in_line(text: str) -> str:
    """`printable` for a name inside a line: tabs and line feeds are spelled out, too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
