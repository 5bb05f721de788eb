"""Values as text that XML can hold."""

import json
from typing import Any
from xml.sax.saxutils import escape, quoteattr


def xml_text(value: Any) -> str:
    """A value between tags."""
    return escape(_plain(value))


def xml_value(value: Any) -> str:
    """A value as an attribute, with its quotes."""
    return quoteattr(_plain(value))


def _plain(value: Any) -> str:
    """A value as text that XML can hold: no control characters, no lone surrogates."""
    text = value if isinstance(value, str) else json.dumps(value)
    clean = "".join(char if char >= " " or char in "\t\n\r" else "\ufffd" for char in text)
    return (
        clean.encode("utf-8", "replace")
        .decode()
        .replace("\ufffe", "\ufffd")
        .replace("\uffff", "\ufffd")
    )
