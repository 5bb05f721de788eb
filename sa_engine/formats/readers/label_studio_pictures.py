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


def place_of(result: Any, pictures: Sequence[Picture], *, is_only_tag: bool) -> int | None:
    """The position of the picture that a result was drawn on; None if that cannot be told.

    is_only_tag: all results of the file are of one image tag: then it shows the likeliest key.
    """
    fields: Mapping[str, Any] = result if isinstance(result, dict) else {}
    keys = list(dict.fromkeys(picture.key for picture in pictures))
    if not keys:
        return None
    key = keys[0] if len(keys) == 1 else _key_of(fields, keys)
    if key is None and is_only_tag:
        key = keys[0]
    item = fields.get("item_index")
    for position, picture in enumerate(pictures):
        if picture.key == key and (
            picture.item == (item or 0) if picture.item is not None else not item
        ):
            return position
    return None


def _key_of(result: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    source = result.get("source")
    if isinstance(source, str) and source.removeprefix("$") in keys:
        return source.removeprefix("$")
    tag = result.get("to_name")
    if not isinstance(tag, str):
        return None
    plain = {key: _plain(key) for key in keys}
    wanted = _plain(tag)
    digits = _DIGITS.search(wanted)
    for fits in (
        [key for key in keys if plain[key] == wanted],
        [key for key in keys if digits and _DIGITS.findall(plain[key]) == [digits[0]]],
        [key for key in keys if wanted in plain[key] or plain[key] in wanted],
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
