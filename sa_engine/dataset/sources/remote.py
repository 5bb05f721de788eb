"""Images in an object store: listing what a URL names, and reading one."""

import errno
import os
import re
from collections.abc import Iterator

from sa_engine.dataset.folder import object_store
from sa_engine.dataset.folder.object_folder import open_object
from sa_engine.dataset.folder.place import Place, last_part
from sa_engine.dataset.sources.collector import Collector
from sa_engine.dataset.sources.source_list import Source, SourceList
from sa_engine.dataset.sources.tars import (
    MARK,
    PACKED_TARS,
    TAR,
    add_members,
    read_member,
    split_member,
)
from sa_engine.dataset.sources.text_lists import LIST_SUFFIXES, add_lines
from sa_engine.dataset.sources.walk import is_hidden, is_image_name
from sa_engine.errors import ImageError, UsageError

_SCAN_AHEAD = 1 << 18
_MAGIC = re.compile(r"[*?[]")


def list_objects(url: str) -> SourceList:
    """The images that a URL names; the same kinds of places as of local ones, see `list_sources`.

    Not sorted. Raises UsageError if there is no such bucket or object, or it may not be listed.
    """
    place = Place.of(url)
    try:
        if place.key and not url.endswith("/") and object_store.head(place) is not None:
            return _list_object(place)
        found = Collector()
        anything = False
        for key in _keys(place):
            anything = True
            _add_image(found, key)
        if anything:
            return found.listing(place.url.encode())
        if _MAGIC.search(place.key):
            return _list_glob(place)
    except PermissionError as error:
        raise UsageError(
            f"cannot list {place.url}: {error.strerror}: get permission to read and list there"
        ) from error
    raise UsageError(f"there is nothing at {place.url}: give an existing folder, object or pattern")


def read_object_source(source: Source, max_bytes: int) -> bytes:
    """The bytes of a source whose uri is a URL. Raises OSError or ImageError."""
    whole = source.uri.encode("utf-8", "surrogateescape")
    archive, member = split_member(whole, exists=lambda path: _exists(path.decode()))
    if archive is None:
        data = object_store.read(Place.of(source.uri), 0, max_bytes + 1)
        if len(data) > max_bytes:
            raise OSError(errno.EFBIG, f"has over {max_bytes} bytes")
        return data
    place = Place.of(archive.decode())
    if source.tar_offset is None or source.tar_size is None:
        head = object_store.head(place)
        if head is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", place.url)
        with open_object(place, head.num_bytes, read_ahead=_SCAN_AHEAD) as file:
            return read_member(file, archive, member, max_bytes)
    if source.tar_size > max_bytes:
        raise OSError(errno.EFBIG, f"has {source.tar_size} bytes, limit {max_bytes}")
    end = source.tar_offset + source.tar_size
    data = object_store.read(place, source.tar_offset, end)
    if len(data) < source.tar_size:
        raise ImageError("truncated", f"the archive ends inside {source.name}")
    return data


def _exists(url: str) -> bool:
    return object_store.head(Place.of(url)) is not None


def _keys(place: Place, starting: str = "") -> Iterator[str]:
    """Keys of all depths, relative to the place."""
    skip = len(place.key) + 1 if place.key else 0
    for page in object_store.pages(place, deep=True, starting=starting):
        yield from (key[skip:] for key in page.objects if not key.endswith("/"))


def _add_image(found: Collector, key: str) -> None:
    name = key.encode()
    if is_image_name(name) and not is_hidden(name):
        found.add(name)


def _list_object(place: Place) -> SourceList:
    parent = Place(place.scheme, place.bucket, place.key.rpartition("/")[0])
    name = last_part(place.key).encode()
    found = Collector()
    lowered = name.lower()
    if lowered.endswith(PACKED_TARS):
        raise UsageError(
            f"{place.url} is packed, so its images cannot be reached one by one: "
            "unpack it and give the folder or the plain .tar"
        )
    if lowered.endswith(TAR):
        _add_tar(found, place, name)
    elif os.path.splitext(lowered)[1] in LIST_SUFFIXES:  # noqa: PTH122 - bytes
        data = object_store.read(place)
        add_lines(found, iter([data]), len(data))
    else:
        found.add(name)
    return found.listing(parent.url.encode())


def _add_tar(found: Collector, place: Place, name: bytes) -> None:
    head = object_store.head(place)
    if head is not None:
        with open_object(place, head.num_bytes, read_ahead=_SCAN_AHEAD) as file:
            add_members(found, file, label=place.url, name=name + MARK)


def _list_glob(place: Place) -> SourceList:
    fixed, rest = _split_pattern(place.key)
    root = Place(place.scheme, place.bucket, fixed)
    pattern = _translated(rest)
    ending = os.path.splitext(place.key)[1]  # noqa: PTH122 - a key, no path
    any_ending = bool(ending) and not _MAGIC.search(ending)
    deep = "**" in rest.split("/")
    literal = _MAGIC.split(rest, maxsplit=1)[0]
    found = Collector()
    for key in _keys(root, literal):
        name = key.encode()
        if pattern.fullmatch(key):
            if name.lower().endswith(TAR):
                _add_tar(found, root.join(key), name)
            elif any_ending or is_image_name(name):
                found.add(name)
        elif not deep and _matches_folder(pattern, key):
            _add_image(found, key)
    return found.listing(root.url.encode())


def _matches_folder(pattern: re.Pattern[str], key: str) -> bool:
    parts = key.split("/")
    return any(pattern.fullmatch("/".join(parts[:count])) for count in range(1, len(parts)))


def _split_pattern(key: str) -> tuple[str, str]:
    """(the folders before the first with magic, the rest)."""
    parts = key.split("/")
    count = next(k for k, part in enumerate(parts) if _MAGIC.search(part))
    return "/".join(parts[:count]), "/".join(parts[count:])


def _translated(pattern: str) -> re.Pattern[str]:
    """A pattern of `glob` as a regular expression: no name with a dot in front by a wildcard."""
    text = ""
    parts = pattern.split("/")
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            text += r"(?:[^/.][^/]*/)*" + (r"[^/.][^/]*" if last else "")
            continue
        if part[:1] in ("*", "?", "["):
            text += r"(?!\.)"
        text += _translated_part(part) + ("" if last else "/")
    return re.compile(text, re.DOTALL)


def _translated_part(part: str) -> str:
    text, k = "", 0
    while k < len(part):
        end = part.find("]", k + 2) if part[k] == "[" else -1
        if part[k] == "*":
            text += "[^/]*"
        elif part[k] == "?":
            text += "[^/]"
        elif end > 0:
            inside = part[k + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            text += f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
            k = end
        else:
            text += re.escape(part[k])
        k += 1
    return text
