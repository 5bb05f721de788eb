"""Annotation files of a folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from sa_engine.errors import AnnotationError


def files_below(path: Path, endings: Sequence[str]) -> list[str]:
    """Names of the files with one of these endings, relative to `path` and sorted.

    path: a folder, searched recursively without hidden entries; or one file, whose bare name is
        given.
    Raises AnnotationError if there is none.
    """
    if path.is_file():
        return [path.name]
    names = []
    for folder, inner, files in os.walk(path):
        inner[:] = [name for name in inner if not name.startswith(".")]
        below = Path(folder).relative_to(path)
        for name in files:
            if name.lower().endswith(tuple(endings)) and not name.startswith("."):
                names.append((below / name).as_posix())
    if not names:
        raise AnnotationError(f"no {' or '.join(endings)} files in {path}")
    return sorted(names)
