"""Print README.md as a package index can show it, which does not know the files beside it.

python docs/package_readme.py [URL]

URL: where the files of this version are shown, such as https://host/owner/sa-engine/blob/v1.0;
links lead there, and pictures are taken from the same address with "raw" for "blob". Without it
links become plain text and pictures are left out.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)")


def for_index(text: str, url: str | None = None) -> str:
    """Markdown without links to files beside it."""

    def replaced(found: re.Match[str]) -> str:
        is_picture, label, path = found.groups()
        if url is None:
            return "" if is_picture else label
        base = url.rstrip("/")
        base = base.replace("/blob/", "/raw/") if is_picture else base
        return f"{is_picture}[{label}]({base}/{path})"

    made = _LINK.sub(replaced, text)
    return re.sub(r"\n{3,}", "\n\n", made) if url is None else made


if __name__ == "__main__":
    sys.stdout.write(for_index(README.read_text("utf-8"), *sys.argv[1:2]))
