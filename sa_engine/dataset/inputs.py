"""From what a user names (a folder, a file, a glob, a text list, a tar) to the sorted input list.

Also the way from one source to its bytes.
"""

# Names are bytes here, for not every file name is UTF-8, and pathlib takes text only.
# ruff: noqa: PTH100, PTH112, PTH118, PTH120, PTH122, PTH123, PTH207
import errno
import glob
import os
import tarfile
from typing import Any

import pyarrow as pa

from sa_engine.dataset.arrays import Lines, bytes_array, optional_int_array
from sa_engine.dataset.sources import Source, SourceList, label
from sa_engine.dataset.storage import open_folder, read_range, read_regular
from sa_engine.dataset.walking import is_image_name, walk
from sa_engine.errors import ImageError, UsageError

__all__ = ["Source", "SourceList", "list_sources", "read_source_bytes"]

LIST_SUFFIXES = frozenset({b".txt", b".lst", b".list"})

DEFAULT_MAX_BYTES = 2 << 30
"""Largest file that is read as one image, bytes."""

_TAR = b".tar"
_MARK = b"!"
_PACKED_TARS = (b".tar.gz", b".tgz", b".tar.bz2", b".tar.xz", b".tar.zst", b".zip")
_CHUNK = 65536
_LIST_BLOCK = 1 << 24


def list_sources(path: str | os.PathLike[str]) -> SourceList:
    """The images that a path names, sorted by the bytes of their names, each name once.

    path: one of
        a folder: searched recursively for names with an image ending, hidden ones left out; links
            are followed, each folder is listed once;
        a file with the ending .tar: its members with an image ending ("archive.tar!member");
        a file with the ending .txt, .lst or .list: one path per line, relative to that file's
            folder; whatever is listed by hand counts, whatever its ending;
        any other file: that one image;
        a pattern with *, ? or [ ] (** for any depth): all of these that match.

    Raises UsageError if there is no such path or no image in it.
    """
    open_folder(path)  # refuses URLs
    raw = os.fsencode(path)
    if os.path.isdir(raw):
        listing = _list_folder(raw)
    elif os.path.lexists(raw):
        listing = _list_file(raw)
    elif glob.has_magic(raw):
        listing = _list_glob(raw)
    else:
        raise UsageError(f"there is no {label(raw)}: give an existing folder, file or pattern")
    if not len(listing):
        raise UsageError(
            f"no images in {label(raw)}: names must end in .jpg, .png or another image ending; "
            "files with other endings can be named in a text list, one path per line"
        )
    return listing.sorted()


def read_source_bytes(source: Source, *, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """The bytes of a source.

    Raises ImageError: "missing", "unreadable", "empty", "truncated" or "too-large".
    """
    path = os.fsencode(source.uri)
    archive, member = _split_member(path)
    try:
        if archive is None:
            data = read_regular(os.fsdecode(path), max_bytes)
        elif source.tar_offset is not None and source.tar_size is not None:
            if source.tar_size > max_bytes:
                raise OSError(errno.EFBIG, f"has {source.tar_size} bytes, limit {max_bytes}")
            data = read_range(os.fsdecode(archive), source.tar_offset, source.tar_size)
            if len(data) < source.tar_size:
                raise ImageError("truncated", f"the archive ends inside {source.name}")
        else:
            data = _read_member(archive, member, max_bytes)
    except FileNotFoundError as error:
        raise ImageError("missing", f"there is no {source.name} any more") from error
    except OSError as error:
        reason = "too-large" if error.errno == errno.EFBIG else "unreadable"
        raise ImageError(reason, f"{source.name}: {error.strerror or error}") from error
    if not data:
        raise ImageError("empty", f"{source.name} has no bytes")
    return data


class _Collector:
    """Gathers names (and places in tars) without one object per image."""

    def __init__(self) -> None:
        self._names: list[bytes] = []
        self._offsets: list[int | None] = []
        self._sizes: list[int | None] = []
        self._chunks: list[tuple[Any, Any, Any]] = []
        self._any_span = False

    def add(self, name: bytes, offset: int | None = None, size: int | None = None) -> None:
        self._names.append(name)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._any_span = self._any_span or offset is not None
        if len(self._names) >= _CHUNK:
            self._flush()

    def add_array(self, names: Any) -> None:
        """Many plain files at once, large_binary."""
        self._flush()
        nothing = pa.nulls(len(names), pa.int64())
        self._chunks.append((names, nothing, nothing))

    def listing(self, root: bytes) -> SourceList:
        self._flush()
        kinds = (pa.large_binary(), pa.int64(), pa.int64())
        names, offsets, sizes = (
            pa.chunked_array([chunk[k] for chunk in self._chunks], kind)
            for k, kind in enumerate(kinds)
        )
        return SourceList(names, root=root, tar_spans=(offsets, sizes) if self._any_span else None)

    def _flush(self) -> None:
        if self._names:
            self._chunks.append(
                (
                    bytes_array(self._names),
                    optional_int_array(self._offsets),
                    optional_int_array(self._sizes),
                )
            )
        self._names, self._offsets, self._sizes = [], [], []


def _list_folder(folder: bytes) -> SourceList:
    root = os.path.abspath(folder)
    found = _Collector()
    for name in walk(root):
        found.add(name)
    return found.listing(root)


def _list_file(path: bytes) -> SourceList:
    root, name = os.path.split(os.path.abspath(path))
    found = _Collector()
    lowered = name.lower()
    if lowered.endswith(_PACKED_TARS):
        raise UsageError(
            f"{label(path)} is packed, so its images cannot be reached one by one: "
            "unpack it and give the folder or the plain .tar"
        )
    if lowered.endswith(_TAR):
        _add_members(found, path, name)
    elif os.path.splitext(lowered)[1] in LIST_SUFFIXES:
        _add_lines(found, path)
    else:
        found.add(name)
    return found.listing(root)


def _list_glob(pattern: bytes) -> SourceList:
    head = pattern
    while glob.has_magic(head):
        head = os.path.dirname(head)
    root = os.path.abspath(head)
    named_ending = os.path.splitext(pattern)[1]
    any_ending = bool(named_ending) and not glob.has_magic(named_ending)
    found = _Collector()
    for match in glob.iglob(pattern, recursive=True):
        name = os.path.relpath(match, root)
        if os.path.isdir(match):
            # With ** every folder below matches as well, and so does each of its files.
            if b"**" not in pattern:
                for inner in walk(os.path.abspath(match)):
                    found.add(os.path.join(name, inner))
        elif name.lower().endswith(_TAR):
            _add_members(found, match, name)
        elif any_ending or is_image_name(name):
            found.add(name)
    return found.listing(root)


def _add_lines(found: _Collector, path: bytes) -> None:
    try:
        with open(path, "rb") as file:
            left = os.fstat(file.fileno()).st_size
            # The last line may lack its end.
            lines = Lines(left + 1)
            rest = file.read(3).removeprefix(b"\xef\xbb\xbf")
            left -= 3
            while left > 0 and (block := file.read(min(left, _LIST_BLOCK))):
                left -= len(block)
                whole, newline, rest = (rest + block).rpartition(b"\n")
                lines.add(whole + newline)
            lines.add(rest + b"\n")
    except OSError as error:
        raise UsageError(f"cannot read the list {label(path)}: {error.strerror}") from error
    found.add_array(lines.array())


def _add_members(found: _Collector, path: bytes, name: bytes) -> None:
    members: dict[bytes, tuple[int | None, int | None]] = {}
    count = 0
    try:
        with tarfile.open(os.fsdecode(path), "r:", errorlevel=2) as archive:
            while (member := archive.next()) is not None:
                # The archive keeps every header it has read; millions of them are too many.
                archive.members = []  # type: ignore[attr-defined]  # no stub for it
                count += 1
                inner = os.fsencode(member.name)
                if member.isreg() and is_image_name(inner) and not _is_hidden(inner):
                    span = (None, None) if member.issparse() else (member.offset_data, member.size)
                    members[_inside(inner)] = span
            _refuse_cut(path, archive)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise UsageError(
            f"cannot read the archive {label(path)} after {count} members: {error}: "
            "it is no tar or it is cut short; fetch it again"
        ) from error
    for inner, (offset, size) in members.items():
        found.add(name + _MARK + inner, offset, size)


def _refuse_cut(path: bytes, archive: tarfile.TarFile) -> None:
    """An archive without its end mark was cut, even where the cut falls between two members."""
    end = read_range(os.fsdecode(path), archive.offset, 512)
    if len(end) < 512:
        raise tarfile.ReadError("it has no end mark")
    if end.strip(b"\0"):
        raise tarfile.ReadError(f"no member header at byte {archive.offset}")


def _read_member(archive: bytes, member: bytes, max_bytes: int) -> bytes:
    try:
        with tarfile.open(os.fsdecode(archive), "r:") as opened:
            for info in opened:
                if _inside(os.fsencode(info.name)) == member and info.isreg():
                    if info.size > max_bytes:
                        raise OSError(errno.EFBIG, f"has {info.size} bytes, limit {max_bytes}")
                    file = opened.extractfile(info)
                    return file.read() if file is not None else b""
    except tarfile.TarError as error:
        raise OSError(errno.EIO, f"cannot read {label(archive)}: {error}") from error
    raise FileNotFoundError(errno.ENOENT, "no such member", label(archive + _MARK + member))


def _split_member(path: bytes) -> tuple[bytes | None, bytes]:
    """(archive, member) of "archive.tar!member"; (None, path) of a plain path."""
    start = path.lower().find(_TAR + _MARK)
    if start < 0 or os.path.lexists(path):
        return None, path
    end = start + len(_TAR)
    return path[:end], path[end + 1 :]


def _inside(name: bytes) -> bytes:
    """A member's name that cannot lead out of a folder it is joined to."""
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b".", b".."))


def _is_hidden(name: bytes) -> bool:
    return any(part.startswith(b".") and part not in (b".", b"..") for part in name.split(b"/"))
