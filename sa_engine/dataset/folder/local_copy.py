"""Files of an object store as local files, for readers that need those (weights)."""

import hashlib
import os
from pathlib import Path

from sa_engine.dataset.folder import object_store
from sa_engine.dataset.folder.cache import cache_folder
from sa_engine.dataset.folder.files import exclusive, explain_write
from sa_engine.dataset.folder.place import Place, endpoints, is_url, last_part
from sa_engine.errors import DatasetError, UsageError


def local_copy(path: str | os.PathLike[str]) -> Path:
    """A path as it is; for a URL, a copy of the object that is kept in the user's cache.

    The copy is used again as long as the store has the same version of the object.

    Raises UsageError if there is no such object or it may not be read, DatasetError if the store
    cannot be reached or the copy cannot be written.
    """
    if not is_url(path):
        return Path(path)
    place = Place.of(path)
    try:
        head = object_store.head(place) if place.key else None
        if head is None:
            raise UsageError(f"there is no file {place.url}: give the URL of the file itself")
        version = "\n".join((place.url, *endpoints(place.scheme), head.version))
        folder = cache_folder("files") / hashlib.sha256(version.encode()).hexdigest()[:24]
        copy = folder / last_part(place.key)
        with explain_write(copy):
            folder.mkdir(exist_ok=True)
        with exclusive(folder / "lock"):
            if not copy.exists():
                _fetch(place, copy)
    except PermissionError as error:
        raise UsageError(
            f"cannot read {place.url}: {error.strerror}: get permission to read it"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"cannot read {place.url}: {error.strerror or error}: run the same command again"
        ) from error
    return copy


def _fetch(place: Place, copy: Path) -> None:
    temporary = copy.with_name(f".{os.urandom(8).hex()}.part")
    try:
        object_store.download(place, temporary)
        temporary.replace(copy)
    finally:
        temporary.unlink(missing_ok=True)
