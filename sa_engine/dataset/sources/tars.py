"""Images inside plain tar archives: where their bytes lie, and reading one by name."""

# Names are bytes here, for not every file name is UTF-8, and pathlib takes text only.
import errno
import os
import tarfile
from collections.abc import Callable
from typing import BinaryIO

from sa_engine.dataset.sources.collector import Collector
from sa_engine.dataset.sources.source_list import label as spelled
from sa_engine.dataset.sources.walk import is_hidden, is_image_name
from sa_engine.errors import UsageError

TAR = b".tar"
MARK = b"!"
"""Between an archive's name and its member's."""

MOST_SPARSE_BYTES = 64 << 20
"""Largest sparse member that is read: holes cost nothing in the archive, and no image has many."""

PACKED_TARS = (b".tar.gz", b".tgz", b".tar.bz2", b".tar.xz", b".tar.zst", b".zip")


def add_members(found: Collector, file: BinaryIO, *, label: str, name: bytes) -> None:
    """Add the members with an image ending. UsageError if it is no tar or is cut short.

    name: what comes before the members' names.
    """
    members: dict[bytes, tuple[int | None, int | None]] = {}
    count = 0
    try:
        with tarfile.open(fileobj=file, mode="r:", errorlevel=2) as archive:
            while (member := archive.next()) is not None:
                # The archive keeps every header it has read; millions of them are too many.
                archive.members = []  # type: ignore[attr-defined]  # no stub for it
                count += 1
                inner = os.fsencode(member.name)
                if member.isreg() and is_image_name(inner) and not is_hidden(inner):
                    span = (None, None) if member.issparse() else (member.offset_data, member.size)
                    members[inside(inner)] = span
            _refuse_cut(file, archive.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise UsageError(
            f"cannot read the archive {label} after {count} members: {error}: "
            "it is no tar or it is cut short; fetch it again"
        ) from error
    for inner, (offset, size) in members.items():
        found.add(name + inner, offset, size)


def read_member(file: BinaryIO, archive: bytes, member: bytes, max_bytes: int) -> bytes:
    """A member's bytes, found by its name. OSError if there is none or it is too large."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as opened:
            for info in opened:
                if inside(os.fsencode(info.name)) == member and info.isreg():
                    limit = min(max_bytes, MOST_SPARSE_BYTES) if info.issparse() else max_bytes
                    if info.size > limit:
                        raise OSError(errno.EFBIG, f"has {info.size} bytes, limit {limit}")
                    content = opened.extractfile(info)
                    return content.read() if content is not None else b""
    except tarfile.TarError as error:
        raise OSError(errno.EIO, f"cannot read {spelled(archive)}: {error}") from error
    raise FileNotFoundError(errno.ENOENT, "no such member", spelled(archive + MARK + member))


def split_member(path: bytes, *, exists: Callable[[bytes], bool]) -> tuple[bytes | None, bytes]:
    """(archive, member) of "archive.tar!member"; (None, path) of a plain path."""
    start = path.lower().find(TAR + MARK)
    if start < 0 or exists(path):
        return None, path
    end = start + len(TAR)
    return path[:end], path[end + 1 :]


def inside(name: bytes) -> bytes:
    """A member's name that cannot lead out of a folder it is joined to."""
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b".", b".."))


def _refuse_cut(file: BinaryIO, offset: int) -> None:
    """An archive without its end mark was cut, even where the cut falls between two members."""
    file.seek(offset)
    end = file.read(512)
    if len(end) < 512:
        raise tarfile.ReadError("it has no end mark")
    if end.strip(b"\0"):
        raise tarfile.ReadError(f"no member header at byte {offset}")
