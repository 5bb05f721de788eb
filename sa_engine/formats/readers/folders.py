"""Sources with a file per image, in a folder or a tar."""

import os
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sa_engine.dataset.folder.base import read_range
from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage
from sa_engine.formats.codecs import jsonfile
from sa_engine.formats.reasons import Loss, Note

T = TypeVar("T")

MAX_FILE_BYTES = 1 << 30
"""Largest annotation file of one image, bytes."""


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """A file of annotations.

    name: relative to the folder or tar that it is in.
    path: the file, or the tar.
    offset, size: where it lies in the tar; None for a plain file.
    """

    name: str
    path: str
    offset: int | None = None
    size: int | None = None

    def read_head(self, size: int) -> bytes:
        """Its first bytes, at most `size`. AnnotationError if they cannot be read."""
        size = size if self.size is None else min(size, self.size)
        try:
            return read_range(self.path, self.offset or 0, size)
        except OSError as error:
            raise AnnotationError(f"cannot read {self.name}: {error.strerror or error}") from error

    def read(self) -> bytes:
        """Its bytes. AnnotationError if they cannot be read."""
        try:
            size = Path(self.path).stat().st_size if self.size is None else self.size
            if size > MAX_FILE_BYTES:
                raise AnnotationError(f"{self.name} has {size} bytes, limit {MAX_FILE_BYTES}")
            return read_range(self.path, self.offset or 0, size)
        except OSError as error:
            raise AnnotationError(f"cannot read {self.name}: {error.strerror or error}") from error


def files_below(path: Path, endings: Sequence[str]) -> list[AnnotationFile]:
    """The files with one of these endings (lower case), sorted by name.

    path: a folder, searched recursively without hidden entries; a tar; or one such file.
    Raises AnnotationError if there is none.
    """
    if path.suffix.lower() == ".tar":
        found = _members(path, tuple(endings))
    elif path.is_file():
        found = [AnnotationFile(path.name, str(path))]
    else:
        found = _below(path, tuple(endings))
    if not found:
        raise AnnotationError(f"no {' or '.join(endings)} files in {path}")
    return sorted(found, key=lambda file: file.name)


def _below(path: Path, endings: tuple[str, ...]) -> list[AnnotationFile]:
    found = []
    for folder, inner, names in os.walk(path):
        inner[:] = [name for name in inner if not name.startswith(".")]
        below = Path(folder).relative_to(path)
        for name in names:
            if name.lower().endswith(endings) and not name.startswith("."):
                found.append(AnnotationFile((below / name).as_posix(), str(Path(folder) / name)))
    return found


def _members(path: Path, endings: tuple[str, ...]) -> list[AnnotationFile]:
    found = []
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                # The archive keeps every header it has read; millions of them are too many.
                archive.members = []  # type: ignore[attr-defined]  # no stub for it
                if member.isreg() and member.name.lower().endswith(endings):
                    found.append(
                        AnnotationFile(member.name, str(path), member.offset_data, member.size)
                    )
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise AnnotationError(f"cannot read the archive {path}: {error}") from error
    return found


class FilePerImage(ABC, Generic[T]):
    """What the sources with a file per image share. See `AnnotationSource`."""

    unlisted_are_empty = False

    def __init__(self, files: Sequence[AnnotationFile]) -> None:
        self._files = files
        self._recent: tuple[int, T | None] = (-1, None)
        self.notes: Sequence[Note] = ()
        self.categories: Sequence[Mapping[str, Any]] = ()
        self.about: Mapping[str, Any] = {}

    @abstractmethod
    def parse(self, data: bytes) -> T:
        """The content of one file. AnnotationError if it is not one of this format."""

    def content(self, index: int) -> T | None:
        """The content of image `index`'s file; None if it cannot be read.

        Remembered, for a file is looked at several times in a row.
        """
        if self._recent[0] != index:
            try:
                self._recent = (index, self.parse(self._files[index].read()))
            except AnnotationError:
                self._recent = (index, None)
        return self._recent[1]

    def unreadable(self, index: int) -> ImportedImage:
        """What `read` gives for a file that cannot be read: it counts as one region."""
        return ImportedImage(notes=(Note(Loss.BAD_FILE, self._files[index].name),))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recent": (-1, None)}


def json_object(data: bytes) -> dict[str, Any]:
    """The object that a JSON file holds. AnnotationError if it holds none."""
    try:
        value, _ = jsonfile.parse_file(data)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"it is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise AnnotationError("it holds no JSON object")
    return value


def stem(name: str) -> str:
    """A file's name without its ending, folders kept."""
    return name.rpartition(".")[0] or name
