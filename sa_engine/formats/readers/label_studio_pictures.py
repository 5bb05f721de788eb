"""The pictures of a Label Studio task, and which of them a result was drawn on.

A task's `data` names its pictures: a link under one or more keys, or, for an image tag with a
`valueList`, a list of links. A result tells its picture by `to_name`, the image tag's name, and by
`item_index` in a list. Which key a tag shows stands in the project's configuration alone, so its
name is held against the keys, and a result that could be of several pictures is of none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sa_engine.formats.base import ListedImage, listed_image
from sa_engine.formats.fields import text

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_UPLOADS = re.compile(r"^(data/)?upload/(\d+/)?")
_IMAGE_KEYS = ("image", "img", "photo", "picture", "url")
_IMAGE_NAME = re.compile(r"\.(jpe?g|png|webp|tiff?|bmp|gif|avif|jp2)($|[?&#])", re.IGNORECASE)
_DIGITS = re.compile(r"\d+$")
_FEW_KEYS = 50
"""Keys of a task's data that a tag's name is held against in part."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a task: the key of `data` it stands under, its place in a list, its names."""

    key: str
    item: int | None
    listed: ListedImage


def pictures_of(task: Any) -> list[Picture]:
    """The pictures of a task, the likeliest key first."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return []
    found: list[Picture] = []
    for key in dict.fromkeys((*(k for k in _IMAGE_KEYS if k in data), *data)):
        value = data[key]
        links = value if isinstance(value, list) else [value]
        for position, link in enumerate(links):
            if not isinstance(link, str) or not link:
                continue
            if not (_IMAGE_NAME.search(link) or (key in _IMAGE_KEYS)):
                continue
            listed = _listed(link)
            if listed is not None:
                item = position if isinstance(value, list) else None
                found.append(Picture(str(key), item, listed))
    return found


class PictureFinder:
    """Finds the picture that a result was drawn on, by tables made once for a task.

    is_only_tag: all results of the file are of one image tag: then it shows the likeliest key.
    """

    def __init__(self, pictures: Sequence[Picture], *, is_only_tag: bool) -> None:
        self._is_only_tag = is_only_tag
        self._keys = list(dict.fromkeys(picture.key for picture in pictures))
        self._positions: dict[tuple[str, Any], int] = {}
        for position, picture in enumerate(pictures):
            self._positions.setdefault((picture.key, picture.item), position)
        self._by_plain: dict[str, list[str]] = {}
        self._by_digits: dict[str, list[str]] = {}
        for key in self._keys:
            self._by_plain.setdefault(_plain(key), []).append(key)
            digits = _DIGITS.search(_plain(key))
            if digits:
                self._by_digits.setdefault(digits[0], []).append(key)
        self._known: dict[str, str | None] = {}

    def of(self, result: Any) -> int | None:
        """The position of the picture that a result was drawn on; None if that cannot be told."""
        fields: Mapping[str, Any] = result if isinstance(result, dict) else {}
        if not self._keys:
            return None
        key = self._keys[0] if len(self._keys) == 1 else self._key_of(fields)
        if key is None and self._is_only_tag:
            key = self._keys[0]
        item = fields.get("item_index") or 0
        if key is None or not isinstance(item, int | float):
            return None
        found = self._positions.get((key, item))
        return found if found is not None or item else self._positions.get((key, None))

    def _key_of(self, result: Mapping[str, Any]) -> str | None:
        source = result.get("source")
        if isinstance(source, str) and (source.removeprefix("$"), None) in self._positions:
            return source.removeprefix("$")
        if isinstance(source, str) and source.removeprefix("$") in self._keys[:_FEW_KEYS]:
            return source.removeprefix("$")
        tag = result.get("to_name")
        if not isinstance(tag, str):
            return None
        if tag not in self._known:
            self._known[tag] = self._key_of_tag(_plain(tag))
        return self._known[tag]

    def _key_of_tag(self, wanted: str) -> str | None:
        digits = _DIGITS.search(wanted)
        few = self._keys[:_FEW_KEYS]
        for fits in (
            self._by_plain.get(wanted, []),
            self._by_digits.get(digits[0], []) if digits else [],
            [key for key in few if wanted in _plain(key) or _plain(key) in wanted],
        ):
            if len(fits) == 1:
                return fits[0]
        return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _listed(link: str) -> ListedImage | None:
    """The image of a link: a URL, an upload, a file of a mounted folder, or a bare name."""
    parts = urlsplit(link) if "://" in link or link.startswith("/") else None
    # Files of a mounted folder are asked for as /data/local-files/?d=folder/name.jpg.
    served = parse_qs(parts.query).get("d", [""])[0] if parts else ""
    path = served or (unquote(parts.path) if parts else link)
    # Uploads are stored under a name of their own: 8 hex digits, a dash, and the name.
    whole = path.replace("\\", "/").lstrip("/")
    stored = _UPLOADS.sub("", whole).removeprefix("data/")
    folders, slash, last = stored.rpartition("/")
    original = folders + slash + _UPLOAD_PREFIX.sub("", last)
    names = dict.fromkeys(name for name in (stored, original) if name)
    first, *others = (text(name) or "" for name in names) if names else ("",)
    return listed_image(first, *others) if first else None
