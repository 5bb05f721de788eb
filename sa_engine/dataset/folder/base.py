"""Where a dataset's files lie: the one place that touches the file system.

A dataset is a flat folder of whole files plus a scratch folder for work in progress. Everything
that the other modules need of a store is in `Folder`: whole files appear at once or not at all,
ranges can be read, names can be listed. A path gives a `LocalFolder`, a URL an `ObjectFolder`.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from sa_engine.dataset.folder.files import (
    exclusive,
    explain_read,
    explain_write,
    read_range,
    read_regular,
    sha256_of,
    sync_folder,
    write_synced,
)
from sa_engine.dataset.folder.layout import SCRATCH, SharedScratch, refuse_foreign
from sa_engine.dataset.folder.object_folder import ObjectFolder
from sa_engine.dataset.folder.place import Place, is_url, last_part
from sa_engine.errors import UsageError

__all__ = [
    "SCRATCH",
    "Folder",
    "LocalFolder",
    "ObjectFolder",
    "exclusive",
    "explain_read",
    "explain_write",
    "open_folder",
    "read_range",
    "read_regular",
    "sha256_of",
    "short_names",
    "sync_folder",
    "write_synced",
]


_TRIES = 3


class Folder(Protocol):
    """A flat folder of whole files, wherever it lies. Names are plain file names."""

    @property
    def url(self) -> str:
        """The folder as a person would write it."""
        ...

    @property
    def scratch(self) -> Path:
        """A local folder for work in progress that belongs to this folder; made when asked for."""
        ...

    @property
    def shared(self) -> SharedScratch | None:
        """Where machines that do not see each other's scratch tell each other what they do.

        None where they see it.
        """
        ...

    def scratch_files(self) -> list[Path]:
        """What lies in the scratch folder, sorted; nothing if it was never made."""
        ...

    def drop_scratch(self) -> bool:
        """Remove all scratch; whether it is gone."""
        ...

    def prepare(self) -> None:
        """Make it ready for a dataset. UsageError if it holds something else or is read-only."""
        ...

    def opening(self) -> AbstractContextManager[None]:
        """One process at a time, of all machines that can see this folder, is inside."""
        ...

    def names(self) -> list[str]:
        """The names of the files here, sorted; scratch and other sub-folders left out."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        ...

    def odd(self) -> dict[str, str]:
        """What is here and is no file of this folder's own: names with what they are, in words."""
        ...

    def read(self, name: str) -> bytes:
        """A whole file. FileNotFoundError if there is none."""
        ...

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only at the end of the file."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file for reading and seeking."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file, replacing what was there; it appears at once or not at all."""
        ...

    def publish(self, finished: Path, name: str) -> None:
        """Move a finished local file here under `name`; it appears at once or not at all."""
        ...

    def withdraw(self, name: str, aside: Path) -> None:
        """Take a file away, or leave all as it is if the folder of `aside` is not there any more.

        aside: where it lies afterwards, in the scratch folder, if the store can move files.
        """
        ...

    def remove(self, name: str) -> None:
        """Delete a file; nothing happens if there is none."""
        ...


class LocalFolder:
    """A folder of the local (or a mounted network) file system."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def url(self) -> str:
        return str(self.path)

    @property
    def scratch(self) -> Path:
        folder = self.path / SCRATCH
        with explain_write(folder):
            folder.mkdir(exist_ok=True)
        return folder

    @property
    def shared(self) -> None:
        return None

    def scratch_files(self) -> list[Path]:
        try:
            return sorted((self.path / SCRATCH).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def drop_scratch(self) -> bool:
        folder = self.path / SCRATCH
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    def prepare(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_foreign(self.url, {entry.name for entry in self.path.iterdir()})
            (self.path / SCRATCH).mkdir(exist_ok=True)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(13, "no write permission")
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.path}: {error.strerror}: choose another folder for --out"
            ) from error

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        with exclusive(self.scratch / "open.lock"):
            yield

    def names(self) -> list[str]:
        with os.scandir(self.path) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir())

    def size(self, name: str) -> int | None:
        try:
            status = (self.path / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def odd(self) -> dict[str, str]:
        with os.scandir(self.path) as entries:
            kinds = {entry.name: _odd_kind(entry) for entry in entries if entry.name != SCRATCH}
        return {name: kind for name, kind in sorted(kinds.items()) if kind}

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        return read_range(self.path / name, offset, size)

    def open(self, name: str) -> BinaryIO:
        # Not Python's own file: Arrow's threads would need the interpreter to let go of its
        # buffers, and abort the process if they come to it while the interpreter shuts down.
        file: BinaryIO = pa.OSFile(os.fspath(self.path / name), "rb")
        return file

    def write(self, name: str, data: bytes) -> None:
        with explain_write(self.path / name):
            for _ in range(_TRIES):
                # Another process may clear the scratch folder meanwhile, as the last of its work.
                with contextlib.suppress(FileNotFoundError):
                    return self._write(name, data)
            return self._write(name, data)

    def _write(self, name: str, data: bytes) -> None:
        temporary = self.scratch / f"{name}.{os.urandom(8).hex()}.tmp"
        try:
            write_synced(temporary, data)
            temporary.replace(self.path / name)
            sync_folder(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def publish(self, finished: Path, name: str) -> None:
        with explain_write(self.path / name):
            finished.replace(self.path / name)
            sync_folder(self.path)

    def withdraw(self, name: str, aside: Path) -> None:
        with explain_write(self.path / name):
            (self.path / name).replace(aside)
            sync_folder(self.path)

    def remove(self, name: str) -> None:
        with explain_write(self.path / name), contextlib.suppress(FileNotFoundError):
            (self.path / name).unlink()
            sync_folder(self.path)


def _odd_kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "a link"
    if entry.is_dir():
        return "a folder"
    return "" if entry.is_file() else "no regular file"


def open_folder(path: str | os.PathLike[str]) -> Folder:
    """The folder at a local path or a URL. UsageError for a URL of a store that is unknown."""
    return ObjectFolder(path) if is_url(path) else LocalFolder(path)


def short_names(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The names of a folder's parent and of the folder itself, local or behind a URL."""
    if is_url(path):
        place = Place.of(path)
        parent, _, name = place.path.rpartition("/")
        return last_part(parent), name
    resolved = Path(path).resolve()
    return resolved.parent.name, resolved.name
