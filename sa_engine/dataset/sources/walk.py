"""Searching a folder for images: deep, in order, through links but never in circles."""

# Names are bytes here, for not every file name is UTF-8, and pathlib takes text only.
# ruff: noqa: PTH118, PTH122
import os
from collections import Counter
from collections.abc import Iterator

from sa_engine.dataset.sources.source_list import label
from sa_engine.errors import UsageError

IMAGE_SUFFIXES = frozenset(
    b".avif .bmp .dib .gif .heic .heif .j2c .j2k .jfif .jp2 .jpe .jpeg .jpf .jpg .jpx .mpo .pbm "
    b".pcx .pgm .png .pnm .ppm .qoi .sgi .tif .tiff .webp".split()
)
"""File name endings that a folder, a glob or a tar is searched for. HEIF is among them, although
it cannot be decoded, so that such photographs are reported rather than passed over."""


def walk(root: bytes) -> Iterator[bytes]:
    """Names of images below a folder, relative to it, sorted by their bytes."""
    real_root = os.path.realpath(root)
    visited = {real_root}
    stack = [iter(_entries(root, b"", real_root, visited))]
    while stack:
        for name, is_folder in stack[-1]:
            if is_folder:
                stack.append(iter(_entries(os.path.join(root, name), name, real_root, visited)))
                break
            yield name
        else:
            stack.pop()


def _entries(
    folder: bytes, prefix: bytes, real_root: bytes, visited: set[bytes]
) -> list[tuple[bytes, bool]]:
    """(relative name, is a folder) of what counts in one folder, in the order of whole names."""
    found: list[tuple[bytes, bytes, bool, bool]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(b"."):
                    continue
                if _is_folder(entry):
                    found.append((name + b"/", name, True, entry.is_symlink()))
                elif is_image_name(name) and (entry.is_symlink() or entry.is_file()):
                    # A link to nowhere counts: it is reported as missing.
                    found.append((name, name, False, False))
    except OSError as error:
        raise UsageError(
            f"cannot list {label(folder)}: {error.strerror}: "
            "get read permission there, or give a text list of what can be read"
        ) from error
    found.sort()
    # Of several links to one folder the first by name counts, so links wait for the sorting.
    return [
        (os.path.join(prefix, name), is_folder)
        for _, name, is_folder, is_link in found
        if not is_link or _enters_new(os.path.join(folder, name), real_root, visited)
    ]


def other_files(root: bytes) -> Counter[str]:
    """How many files below a folder are no images, by suffix; hidden ones are left out."""
    found: Counter[str] = Counter()
    for _, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(b".")]
        for name in names:
            if not name.startswith(b".") and not is_image_name(name):
                suffix = os.path.splitext(name)[1].lower()
                found[label(suffix) or "without a suffix"] += 1
    return found


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _enters_new(link: bytes, real_root: bytes, visited: set[bytes]) -> bool:
    """Whether a linked folder holds images that are not listed elsewhere; remembers it if so."""
    target = os.path.realpath(link)
    inside = os.path.relpath(target, real_root)
    below_root = inside == b"." or not inside.startswith(b"..")
    hidden = any(part.startswith(b".") and part != b"." for part in inside.split(b"/"))
    if target in visited or (below_root and not hidden):
        return False
    visited.add(target)
    return True


def is_image_name(name: bytes) -> bool:
    """Whether its ending is an image's."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_hidden(name: bytes) -> bool:
    """Whether it, or a folder on the way to it, has a dot in front."""
    return any(part.startswith(b".") and part not in (b".", b"..") for part in name.split(b"/"))
