"""Object stores behind a URL: the few operations on whole objects that the engine needs.

Through fsspec, since of the ways to reach a store it alone has all that correctness asks for: an
upload that fails leaves nothing under the final name, an object can be made only if there is none
(`If-None-Match: *`, `ifGenerationMatch=0`), ranges can be read, and listings come page by page.
Credentials, region, endpoint and proxies are what the store's own tools take: the environment
(`AWS_*`, `GOOGLE_APPLICATION_CREDENTIALS`) and their configuration files.
"""

import contextlib
import datetime
import errno
import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.place import EXTRAS, Place
from sa_engine.dataset.folder.store_errors import NO_BUCKET, TAKEN, code_of, explain, no_bucket
from sa_engine.errors import SaEngineError, UsageError

_PAGE = 1000
_PART = 16 << 20
_CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Head:
    """An object without its content.

    version: changes whenever the object is written again.
    age_s: seconds since it was written, by this machine's clock.
    """

    num_bytes: int
    version: str
    age_s: float = field(compare=False, default=0.0)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing: objects by their whole keys, and beginnings of keys that go on deeper."""

    objects: Mapping[str, Head]
    folders: tuple[str, ...]


def head(place: Place) -> Head | None:
    """What is known of an object; None if there is none."""
    with _explained(place) as store:
        try:
            info = store.info(place.path)
        except FileNotFoundError as error:
            if code_of(error) in NO_BUCKET:
                raise
            return None
    return None if info["type"] != "file" else _head_of(info)


def read(place: Place, start: int = 0, end: int | None = None) -> bytes:
    """Bytes `start` to `end` (not with it) of an object; fewer only at its end.

    Raises FileNotFoundError, PermissionError, or what `_explained` makes of other failures.
    """
    # A range even for all of it: the client then asks once, and errors come with a reason.
    stop = 1 << 50 if end is None else end
    if stop <= start:
        return b""
    with _explained(place) as store:
        try:
            data: bytes = store.cat_file(place.path, start=start, end=stop)
        except OSError as error:
            if code_of(error) in ("InvalidRange", "416"):
                return b""
            raise
    return data


def put(place: Place, data: bytes) -> None:
    """Write an object, replacing what was there; it appears at once or not at all."""
    with _explained(place) as store:
        store.pipe_file(place.path, data)


def create(place: Place, data: bytes) -> bool:
    """Write an object if there is none; whether it was written.

    Of several that try at once one succeeds, where the store knows conditional writes; a store that
    does not, and takes them for plain ones, lets the last succeed and the others believe so too.
    """
    with _explained(place) as store:
        try:
            store.pipe_file(place.path, data, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or code_of(error) in TAKEN:
                return False
            if code_of(error) not in ("501", "NotImplemented"):
                raise
            if store.exists(place.path):
                return False
            store.pipe_file(place.path, data)
    return True


def upload(file: Path, place: Place) -> None:
    """Copy a finished local file; the object appears at once or not at all."""
    with _explained(place) as store:
        store.put_file(os.fspath(file), place.path, chunksize=_PART)
    found, wanted = head(place), file.stat().st_size
    if found is None or found.num_bytes != wanted:
        size = "nothing" if found is None else f"{found.num_bytes} bytes"
        raise OSError(errno.EIO, f"{wanted} bytes were sent, and the store has {size}")


def download(place: Place, file: Path) -> None:
    """Copy an object to a local file, part by part. FileNotFoundError if there is none."""
    known = head(place)
    if known is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such object", place.url)
    with file.open("wb") as target:
        while (start := target.tell()) < known.num_bytes:
            part = read(place, start, min(start + _PART, known.num_bytes))
            if not part:
                raise OSError(errno.EIO, f"it ends after {start} bytes", place.url)
            target.write(part)
        target.flush()
        os.fsync(target.fileno())


def remove(place: Place) -> None:
    """Delete an object; nothing happens if there is none."""
    with _explained(place) as store, contextlib.suppress(FileNotFoundError):
        store.rm_file(place.path)


def pages(place: Place, *, deep: bool, starting: str = "") -> Iterator[Page]:
    """What lies below a place, in the order of keys, some hundred objects at a time.

    deep: the objects of all depths; otherwise those directly below, and the folders there.
    starting: only names that begin so.

    Raises UsageError if there is no such bucket, PermissionError if it may not be listed.
    """
    prefix = (f"{place.key}/" if place.key else "") + starting
    delimiter = "" if deep else "/"
    token: str | None = None
    while True:
        with _explained(place) as store:
            listing = _list_s3 if place.scheme == "s3" else _list_gs
            try:
                page, token = listing(store, place.bucket, prefix, delimiter, token)
            except FileNotFoundError as error:
                raise no_bucket(place) from error
        yield page
        if token is None:
            return


def _list_s3(
    store: Any, bucket: str, prefix: str, delimiter: str, token: str | None
) -> tuple[Page, str | None]:
    more = {} if token is None else {"ContinuationToken": token}
    found = store.call_s3(
        "list_objects_v2",
        Bucket=bucket,
        Prefix=prefix,
        Delimiter=delimiter,
        MaxKeys=_PAGE,
        **more,
    )
    objects = {item["Key"]: _head_of(item) for item in found.get("Contents", ())}
    folders = tuple(item["Prefix"] for item in found.get("CommonPrefixes", ()))
    return Page(objects, folders), found.get("NextContinuationToken")


def _list_gs(
    store: Any, bucket: str, prefix: str, delimiter: str, token: str | None
) -> tuple[Page, str | None]:
    more = {} if token is None else {"pageToken": token}
    found = store.call(
        "GET",
        "b/{}/o",
        bucket,
        prefix=prefix,
        delimiter=delimiter,
        maxResults=_PAGE,
        json_out=True,
        **more,
    )
    objects = {item["name"]: _head_of(item) for item in found.get("items", ())}
    return Page(objects, tuple(found.get("prefixes", ()))), found.get("nextPageToken")


def _head_of(info: Mapping[str, Any]) -> Head:
    """From the words of either store."""
    size = info["size"] if "size" in info else info["Size"]
    version = info.get("generation") or info.get("ETag") or info.get("etag") or ""
    written = info.get("LastModified") or info.get("updated") or info.get("mtime")
    if isinstance(written, str):
        written = datetime.datetime.fromisoformat(written)
    if not isinstance(written, datetime.datetime):
        return Head(int(size), str(version))
    age = datetime.datetime.now(datetime.UTC) - written
    return Head(int(size), f"{version} {written.isoformat()}", max(0.0, age.total_seconds()))


@functools.cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _store(place: Place) -> Any:
    """The client, one a process; it is looked up each time, since it must not be inherited."""
    if not (_is_installed("fsspec") and _is_installed(EXTRAS[place.scheme])):
        raise UsageError(
            f"{place.scheme}:// needs the package {EXTRAS[place.scheme]}: "
            f"pip install 'sa-engine[{place.scheme}]'"
        )
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}
    if place.scheme == "s3":
        options["config_kwargs"] = {"connect_timeout": _CONNECT_TIMEOUT_S}
    return fsspec.filesystem(place.scheme, **options)


@contextlib.contextmanager
def _explained(place: Place) -> Iterator[Any]:
    """Give the client, and turn its failures into a few kinds.

    FileNotFoundError and PermissionError are of one object. UsageError: no such bucket, no or bad
    credentials. DatasetError: the store cannot be reached, or does not work. Other OSErrors pass.
    """
    try:
        yield _store(place)
    except SaEngineError:
        raise
    except Exception as error:
        raise explain(error, place) from error
