"""Tar archives with the same bytes every time: ustar headers, no times, no owners.

A member is its 512-byte header, its data, and zeros up to the next multiple of 512; two blocks of
zeros end the archive. Source: POSIX.1 ustar interchange format.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sa_engine.errors import DamagedError

BLOCK = 512
_RECORD = 20 * BLOCK


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive: its name, and its data's offset and size in bytes."""

    name: str
    offset: int
    size: int


def member_bytes(name: str, data: bytes) -> bytes:
    """A whole member: header, data, padding."""
    return b"".join((_header(name, len(data)), data, bytes(-len(data) % BLOCK)))


def end_bytes(length: int) -> bytes:
    """What ends an archive whose members take `length` bytes: zeros up to a whole record."""
    return bytes(2 * BLOCK + -(length + 2 * BLOCK) % _RECORD)


def members(file: BinaryIO) -> Iterator[Member]:
    """Walk an archive that `member_bytes` and `end_bytes` wrote, byte for byte.

    Raises DamagedError where it is anything else: other headers, padding that is not zero, a
    missing end.
    """
    offset = 0
    while True:
        header = file.read(BLOCK)
        if header == bytes(BLOCK):
            if header + file.read() != end_bytes(offset):
                raise DamagedError(f"the archive does not end as it should at byte {offset}")
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise DamagedError(f"no member header at byte {offset}: {error}") from error
        start = offset + BLOCK
        yield Member(info.name, start, info.size)
        file.seek(start + info.size, io.SEEK_SET)
        padding = -info.size % BLOCK
        if file.read(padding) != bytes(padding):
            raise DamagedError(f"padding of {info.name!r} is not zero")
        if header != _header(info.name, info.size):
            raise DamagedError(f"header of {info.name!r} at byte {offset} is not as written")
        offset = start + info.size + padding


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    # PAX differs from ustar only where ustar has no room (names over 100 characters, 8 GiB).
    return info.tobuf(tarfile.PAX_FORMAT)
