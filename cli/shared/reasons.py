"""Printing what was repaired or lost, by reason."""

from collections.abc import Mapping
from typing import Any

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.printable import in_line
from sa_engine.formats.reasons import EXPLANATIONS

_TEXTS = {reason.value: text for reason, text in EXPLANATIONS.items()}


def say_reasons(
    title: str, noun: str, tally: Mapping[str, Mapping[str, Any]], *, plural: str = ""
) -> None:
    """Print counts by reason with their meaning, the most frequent first; nothing if all is well.

    noun: of one thing that is counted; plural: of several, `noun` with an s unless given.
    tally: what `Tally.to_json` gives.
    """
    if not tally:
        return
    total = sum(entry["count"] for entry in tally.values())
    console().say(f"{title}: {total} {noun if total == 1 else plural or noun + 's'}")
    for reason, entry in sorted(tally.items(), key=lambda item: (-item[1]["count"], item[0])):
        example = entry["examples"][0] if entry["examples"] else ""
        named = f" (such as {in_line(example)})" if example else ""
        console().say(f"  {entry['count']} {reason}: {_TEXTS.get(reason, '')}{named}")
