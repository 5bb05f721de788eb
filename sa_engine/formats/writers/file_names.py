"""The name that each image gets in an export: safe, of its own, and short enough for file systems.

Exports put files of other suffixes beside an image or under the same name elsewhere (`a.json`,
`a.txt`, `a.png`), so names differ before their suffix, whatever their case and whichever form their
letters have in Unicode.
"""

import unicodedata

from sa_engine.dataset.records import ImageRecord
from sa_engine.formats.names import safe_parts

MOST_BYTES = 255 - len(".json")
"""Bytes of a part of a path in UTF-8 before its suffix, as file systems allow."""

_SAME = {"jpeg": "jpg", "jpe": "jpg", "jfif": "jpg", "mpo": "jpg", "tiff": "tif", "dib": "bmp"}
_SUFFIXES = frozenset({"jpg", "png", "webp", "tif", "bmp", "gif", "jp2", "ppm", "avif", *_SAME})
_FILES = _SUFFIXES | {"pcx", "qoi", "sgi", "json", "txt", "xml", "yaml"}
"""Suffixes of files in exports: a folder that is called so gets another name."""


class Names:
    """Gives each image a safe path of its own, like the one it had at its source."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, record: ImageRecord) -> str:
        """The path for an image: its source's name, with the suffix of the stored file."""
        given = record.attributes.get("file_name")
        if isinstance(given, str) and given:
            parts = safe_parts(given)
        else:
            # Names that were listed here have no backslash but as a letter.
            parts = safe_parts(record.source.rpartition("!")[2].replace("\\", "_"))
        *folders, last = parts or [record.file_name]
        stem, suffix = _split(last, record.file_name.rpartition(".")[2])
        stem = stem or str(record.image_id)
        folders = [_short(f"{part}_" if _is_file(part) else part) for part in folders]
        path = "/".join((*folders, _short(stem)))
        if _plain(path) in self._taken:
            stem, attempt = f"{record.image_id}_{stem}", 1
            path = "/".join((*folders, _short(stem)))
            while _plain(path) in self._taken:
                attempt += 1
                path = "/".join((*folders, _short(f"{attempt}_{stem}")))
        self._taken.add(_plain(path))
        return f"{path}.{suffix}"


def _split(last: str, stored: str) -> tuple[str, str]:
    """A file's name before its suffix, and the suffix that it gets."""
    stem, dot, suffix = last.rpartition(".")
    if not dot:
        return last, stored
    if _kind(suffix) == _kind(stored):
        return stem, suffix
    # Either this is no suffix, or the image was stored in another format.
    return (stem if suffix.lower() in _SUFFIXES else last), stored


def _kind(suffix: str) -> str:
    return _SAME.get(suffix.lower(), suffix.lower())


def _is_file(folder: str) -> bool:
    return folder.rpartition(".")[2].lower() in _FILES and "." in folder


def _plain(path: str) -> str:
    """What two names have in common that some file system takes for one."""
    return unicodedata.normalize("NFC", path).casefold()


def _short(part: str) -> str:
    coded = part.encode("utf-8", "replace")
    if len(coded) <= MOST_BYTES:
        return part
    return coded[:MOST_BYTES].decode("utf-8", "ignore")
