"""Where a dataset's files lie: the one place that touches the file system.

A dataset is a flat folder of whole files plus a scratch folder for work in progress. Everything
that the other modules need of a store is in `Folder`, so a store of another kind (an object store
behind a URL) is one more class with the same methods: whole files appear at once or not at all,
ranges can be read, names can be listed.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from sa_engine.errors import DamagedError, DatasetError, UsageError

SCRATCH = ".work"
"""Sub-folder for unfinished shards, their journals and the claims on them."""

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_BLOCK = 1 << 20


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

    def names(self) -> list[str]:
        """The names of the files here, sorted; scratch and other sub-folders left out."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
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

    def reclaim(self, name: str, unfinished: Path) -> None:
        """Take back what `publish` put here, if `unfinished` is not there any more.

        For a writer that died between two files that belong together. A store to which `publish`
        copies, and which leaves the local file, has nothing to do here.
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

    def scratch_files(self) -> list[Path]:
        """What lies in the scratch folder, sorted; nothing if it was never made."""
        folder = self.path / SCRATCH
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def names(self) -> list[str]:
        with os.scandir(self.path) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir())

    def size(self, name: str) -> int | None:
        try:
            return (self.path / name).stat().st_size
        except FileNotFoundError:
            return None

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
        # The name of the writer's process keeps two writers of one file apart.
        temporary = self.scratch / f"{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        try:
            with explain_write(temporary):
                write_synced(temporary, data)
            self.publish(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)

    def publish(self, finished: Path, name: str) -> None:
        with explain_write(self.path / name):
            finished.replace(self.path / name)
            sync_folder(self.path)

    def reclaim(self, name: str, unfinished: Path) -> None:
        final = self.path / name
        with explain_write(unfinished):
            if final.exists() and not unfinished.exists():
                final.replace(unfinished)

    def remove(self, name: str) -> None:
        with explain_write(self.path / name), contextlib.suppress(FileNotFoundError):
            (self.path / name).unlink()
            sync_folder(self.path)


def open_folder(path: str | os.PathLike[str]) -> LocalFolder:
    """The folder at a local path. UsageError for a URL of a store that is not supported."""
    text = os.fspath(path)
    if _URL.match(text):
        raise UsageError(
            f"cannot use {text}: only local paths are supported; mount the store or copy it here"
        )
    return LocalFolder(text)


def read_range(path: str | os.PathLike[str], offset: int, size: int) -> bytes:
    """`size` bytes of a local file from `offset`; fewer only at its end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while size > 0 and (part := os.pread(descriptor, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """A whole local file that must be a regular file (a pipe or a device would never end).

    Raises OSError; EFBIG if it is larger than `max_bytes`, EINVAL if it is not a regular file.
    """
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder", os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", os.fspath(path))
        if status.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"has {status.st_size} bytes, limit {max_bytes}")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"has over {max_bytes} bytes")
    return data


def write_synced(path: Path, data: bytes) -> None:
    """Write a local file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has a folder's entries, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; they order renames themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def sha256_of(file: BinaryIO) -> str:
    """Hex SHA-256 of the rest of an open file."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def explain_write(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a failure to write into a DatasetError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "free some space and run the same command again; it continues"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "get write permission there and run the same command again; it continues"
        else:
            advice = "once it can be written, run the same command again; it continues"
        raise DatasetError(
            f"cannot write {os.fspath(path)}: {error.strerror or error}: {advice}"
        ) from error


@contextlib.contextmanager
def explain_read(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a failure to read a dataset's own file into a DamagedError that says what to do."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        what = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise DamagedError(
            f"cannot read {os.fspath(path)}: {what}: verify the dataset, and repair it if need be"
        ) from error


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file: one process of this machine at a time is inside.

    Where the file system has no locks, nobody waits; what is written inside must then bear it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
