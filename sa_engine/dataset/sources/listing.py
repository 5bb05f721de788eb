"""From what a user names (a folder, a file, a glob, a text list, a tar) to the sorted input list.

Also the way from one source to its bytes.
"""

# Names are bytes here, for not every file name is UTF-8, and pathlib takes text only.
# ruff: noqa: PTH100, PTH112, PTH116, PTH118, PTH120, PTH122, PTH123, PTH207
import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from sa_engine.dataset.folder.base import read_range, read_regular
from sa_engine.dataset.folder.place import is_url
from sa_engine.dataset.images.decoding import check_beginning
from sa_engine.dataset.sources.collector import Collector
from sa_engine.dataset.sources.remote import list_objects, read_object_source
from sa_engine.dataset.sources.source_list import Source, SourceList, label
from sa_engine.dataset.sources.tars import (
    MARK,
    PACKED_TARS,
    TAR,
    add_members,
    read_member,
    split_member,
)
from sa_engine.dataset.sources.text_lists import LIST_SUFFIXES, add_lines
from sa_engine.dataset.sources.walk import is_image_name, walk
from sa_engine.errors import ImageError, UsageError

__all__ = ["Source", "SourceList", "list_sources", "read_source_bytes"]

DEFAULT_MAX_BYTES = 2 << 30
"""Largest file that is read as one image, bytes."""

_LONG, _HEAD = 1 << 24, 64
"""Of files of more bytes than the first, so many are looked at before the others are read."""

_LIST_BLOCK = 1 << 24

_NO_IMAGES = (
    "no images in {place}: names must end in .jpg, .png or another image suffix; files with other "
    "suffixes can be named in a text list, one path per line"
)


def list_sources(path: str | os.PathLike[str] | Sequence[str]) -> SourceList:
    """The images that a path names, sorted by the bytes of their names, each name once.

    path: one of
        a folder: searched recursively for names with an image ending, hidden ones left out; links
            are followed, each folder is listed once;
        a file with the ending .tar: its members with an image ending ("archive.tar!member");
        a file with the ending .txt, .lst or .list: one path per line, relative to that file's
            folder; whatever is listed by hand counts, whatever its ending;
        any other file: that one image;
        a pattern with *, ? or [ ] (** for any depth): all of these that match;
        a URL (s3://, gs://) of any of these. Lines of a list may be URLs, too;
        several local files and folders, as a shell makes of a pattern: named from the folder that
            they share.

    Raises UsageError if there is no such path or no image in it, DatasetError if a store cannot be
    reached.
    """
    if not isinstance(path, str | os.PathLike):
        if len(path) != 1:
            return _list_several(path).sorted()
        path = path[0]
    raw = os.fsencode(path)
    if is_url(path):
        listing = list_objects(os.fspath(path))
    elif os.path.isdir(raw):
        listing = _list_folder(raw)
    elif os.path.lexists(raw):
        listing = _list_file(raw)
    elif glob.has_magic(raw):
        listing = _list_glob(raw)
    else:
        raise UsageError(f"there is no {label(raw)}: give an existing folder, file or pattern")
    if not len(listing):
        raise UsageError(_NO_IMAGES.format(place=label(raw)))
    return listing.sorted()


def read_source_bytes(source: Source, *, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """The bytes of a source.

    Raises ImageError: "missing", "unreadable", "empty", "truncated" or "too-large". What is no
    fault of the one image (a store that cannot be reached, say) is a DatasetError or UsageError.
    """
    try:
        read = read_object_source if is_url(source.uri) else _read_local
        data = read(source, max_bytes)
    except FileNotFoundError as error:
        raise ImageError("missing", f"there is no {source.name} any more") from error
    except OSError as error:
        reason = "too-large" if error.errno == errno.EFBIG else "unreadable"
        raise ImageError(reason, f"{source.name}: {error.strerror or error}") from error
    if not data:
        raise ImageError("empty", f"{source.name} has no bytes")
    return data


def _read_local(source: Source, max_bytes: int) -> bytes:
    archive, member = split_member(os.fsencode(source.uri), exists=os.path.lexists)
    if archive is None:
        status = os.stat(member)
        if stat.S_ISREG(status.st_mode) and _LONG < status.st_size <= max_bytes:
            check_beginning(read_range(os.fsdecode(member), 0, _HEAD))
        return read_regular(os.fsdecode(member), max_bytes)
    if source.tar_offset is None or source.tar_size is None:
        with open(archive, "rb") as file:
            return read_member(file, archive, member, max_bytes)
    if source.tar_size > max_bytes:
        raise OSError(errno.EFBIG, f"has {source.tar_size} bytes, limit {max_bytes}")
    if source.tar_size > _LONG:
        check_beginning(read_range(os.fsdecode(archive), source.tar_offset, _HEAD))
    data = read_range(os.fsdecode(archive), source.tar_offset, source.tar_size)
    if len(data) < source.tar_size:
        raise ImageError("truncated", f"the archive ends inside {source.name}")
    return data


def _list_folder(folder: bytes) -> SourceList:
    root = os.path.abspath(folder)
    found = Collector()
    for name in walk(root):
        found.add(name)
    return found.listing(root)


def _list_several(paths: Sequence[str]) -> SourceList:
    folders, files = [], []
    for path in paths:
        raw = os.path.abspath(os.fsencode(path))
        if is_url(path) or raw.lower().endswith((TAR, *PACKED_TARS)):
            raise UsageError(f"give {path} alone: several images are local files and folders")
        if os.path.isdir(raw):
            folders.append(raw)
        elif os.path.lexists(raw):
            files.append(raw)
        else:
            raise UsageError(f"there is no {path}: give existing files and folders")
    places = [*folders, *map(os.path.dirname, files)]
    if not places:
        raise UsageError("no images were given: name a folder, files, or a pattern")
    root = os.path.commonpath(places)
    found = Collector()
    for file in files:
        if is_image_name(file):
            found.add(os.path.relpath(file, root))
    for folder in folders:
        inside = os.path.relpath(folder, root)
        for name in walk(folder):
            found.add(name if inside == b"." else os.path.join(inside, name))
    listing = found.listing(root)
    if not len(listing):
        raise UsageError(_NO_IMAGES.format(place=", ".join(paths[:3])))
    return listing


def _list_file(path: bytes) -> SourceList:
    root, name = os.path.split(os.path.abspath(path))
    found = Collector()
    lowered = name.lower()
    if lowered.endswith(PACKED_TARS):
        raise UsageError(
            f"{label(path)} is packed, so its images cannot be reached one by one: "
            "unpack it and give the folder or the plain .tar"
        )
    if lowered.endswith(TAR):
        _add_tar(found, path, name)
    elif os.path.splitext(lowered)[1] in LIST_SUFFIXES:
        _add_list(found, path)
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
    found = Collector()
    for match in glob.iglob(pattern, recursive=True):
        name = os.path.relpath(match, root)
        if os.path.isdir(match):
            # With ** every folder below matches as well, and so does each of its files.
            if b"**" not in pattern:
                for inner in walk(os.path.abspath(match)):
                    found.add(os.path.join(name, inner))
        elif name.lower().endswith(TAR):
            _add_tar(found, match, name)
        elif any_ending or is_image_name(name):
            found.add(name)
    return found.listing(root)


def _add_list(found: Collector, path: bytes) -> None:
    try:
        with open(path, "rb") as file:
            num_bytes = os.fstat(file.fileno()).st_size
            add_lines(found, _blocks(file, num_bytes), num_bytes)
    except OSError as error:
        raise UsageError(f"cannot read the list {label(path)}: {error.strerror}") from error


def _blocks(file: BinaryIO, num_bytes: int) -> Iterator[bytes]:
    while num_bytes > 0 and (block := file.read(min(num_bytes, _LIST_BLOCK))):
        num_bytes -= len(block)
        yield block


def _add_tar(found: Collector, path: bytes, name: bytes) -> None:
    try:
        with open(path, "rb") as file:
            add_members(found, file, label=label(path), name=name + MARK)
    except OSError as error:
        raise UsageError(f"cannot read the archive {label(path)}: {error.strerror}") from error
