"""Local files: reading parts of them, writing them whole, and saying why it did not work."""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from sa_engine.errors import DamagedError, DatasetError, SaEngineError

_BLOCK = 1 << 20


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
def explain_write(
    path: str | os.PathLike[str], kind: type[SaEngineError] = DatasetError
) -> Iterator[None]:
    """Turn a failure to write into an error that says what to do.

    kind: DatasetError for what goes on where it stopped, OutputError for what is made again.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "free some space"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "get write permission there, or choose another place"
        else:
            advice = "see that it can be written"
        what = (error.strerror or str(error)).rpartition("] ")[2]  # Arrow's have two texts
        end = "; it continues" if kind is DatasetError else ""
        raise kind(
            f"cannot write {os.fspath(path)}: {what}: {advice}, and run the same command again{end}"
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
