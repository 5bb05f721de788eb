"""The masks that people have in hand, so that a dead browser loses none of them."""

import json
from pathlib import Path
from typing import Any

from sa_engine.annotate.keeping.work_folder import DRAFTS, replace_file


class Drafts:
    """A file for each annotator and image. They are part of no result.

    Raises DatasetError if a draft cannot be written.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / DRAFTS

    def of(self, annotator: str) -> set[int]:
        """The images on which an annotator has something in hand."""
        parts = (path.name.split(".") for path in self._folder.glob("*.json"))
        return {
            int(each[-2])
            for each in parts
            if ".".join(each[:-2]) == annotator and each[-2].isdecimal()
        }

    def read(self, annotator: str, image_id: int) -> Any:
        """What was in hand; None for nothing, or for a file that is none of ours."""
        try:
            return json.loads(self._path(annotator, image_id).read_bytes())
        except (OSError, ValueError):
            return None

    def write(self, annotator: str, image_id: int, draft: Any) -> None:
        """Keep what is in hand; None for nothing."""
        if draft is None:
            self._path(annotator, image_id).unlink(missing_ok=True)
        else:
            replace_file(self._path(annotator, image_id), json.dumps(draft).encode("ascii"))

    def _path(self, annotator: str, image_id: int) -> Path:
        return self._folder / f"{annotator}.{image_id}.json"
