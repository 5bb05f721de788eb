"""A dataset's folder in an object store: one more `Folder`.

What is in progress lies on this machine, in a folder of its own below `cache_folder`; the store
holds finished files alone, and below `.work/` the claims that other machines must see.
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from sa_engine.dataset.folder import object_store
from sa_engine.dataset.folder.cache import cache_folder
from sa_engine.dataset.folder.files import exclusive, explain_write
from sa_engine.dataset.folder.layout import SCRATCH, SharedScratch, refuse_foreign
from sa_engine.dataset.folder.place import Place, last_part
from sa_engine.dataset.shards.shared_claims import hold, own_token
from sa_engine.errors import DatasetError, UsageError

READ_AHEAD = 1 << 20


class ObjectFolder:
    """The objects directly below a URL. See `Folder`."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self._place = Place.of(url)

    @property
    def url(self) -> str:
        return self._place.url

    @property
    def scratch(self) -> Path:
        folder = self._scratch()
        with explain_write(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def scratch_files(self) -> list[Path]:
        folder = self._scratch()
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def drop_scratch(self) -> bool:
        shutil.rmtree(self._scratch(), ignore_errors=True)
        shared = self.shared
        for name in shared.names():
            shared.remove(name)
        return not self._scratch().exists()

    @property
    def shared(self) -> SharedScratch:
        return SharedScratch(self._place.join(SCRATCH))

    def prepare(self) -> None:
        held = set(self.names())
        with self._explain_read(""):
            for page in object_store.pages(self._place, deep=False):
                held |= {last_part(folder) for folder in page.folders}
        refuse_foreign(self.url, held)

    def names(self) -> list[str]:
        with self._explain_read(""):
            listed = object_store.pages(self._place, deep=False)
            # A key that ends in a slash is what some tools make for an empty folder.
            keys = [key for page in listed for key in page.objects if not key.endswith("/")]
        return sorted(last_part(key) for key in keys)

    def size(self, name: str) -> int | None:
        with self._explain_read(name):
            head = object_store.head(self._place.join(name))
        return None if head is None else head.num_bytes

    def odd(self) -> dict[str, str]:
        with self._explain_read(""):
            pages = object_store.pages(self._place, deep=False)
            folders = {last_part(folder) for page in pages for folder in page.folders}
        return dict.fromkeys(sorted(folders - {SCRATCH}), "a folder")

    def read(self, name: str) -> bytes:
        with self._explain_read(name):
            return object_store.read(self._place.join(name))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        with self._explain_read(name):
            return object_store.read(self._place.join(name), offset, offset + size)

    def open(self, name: str) -> BinaryIO:
        size = self.size(name)
        if size is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", f"{self.url}/{name}")
        return open_object(self._place.join(name), size)

    def write(self, name: str, data: bytes) -> None:
        with explain_write(f"{self.url}/{name}"):
            object_store.put(self._place.join(name), data)

    def publish(self, finished: Path, name: str) -> None:
        with explain_write(f"{self.url}/{name}"):
            object_store.upload(finished, self._place.join(name))

    def withdraw(self, name: str, aside: Path) -> None:
        if aside.parent.is_dir():
            self.remove(name)

    def remove(self, name: str) -> None:
        with explain_write(f"{self.url}/{name}"):
            object_store.remove(self._place.join(name))

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        scratch = self.scratch
        with exclusive(scratch / "open.lock"), hold(self.shared, "open", own_token(scratch)):
            yield

    def _scratch(self) -> Path:
        # The same URL at another endpoint is another place.
        endpoints = [
            os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
        ]
        digest = hashlib.sha256(
            "\n".join((self.url, *endpoints)).encode("utf-8", "surrogateescape")
        )
        name = f"{last_part(self._place.path)[:40]}-{digest.hexdigest()[:16]}"
        return cache_folder("work") / name

    @contextlib.contextmanager
    def _explain_read(self, name: str) -> Iterator[None]:
        """A file that is not there is the caller's to judge; all else is no damage."""
        place = self._place.join(name) if name else self._place
        try:
            yield
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise UsageError(
                f"cannot read {place.url}: {error.strerror}: get permission to read and list there"
            ) from error
        except OSError as error:
            raise DatasetError(
                f"cannot read {place.url}: {error.strerror or error}: run the same command again"
            ) from error


class _ObjectFile(io.RawIOBase):
    """An object as a file for reading and seeking: only what is read is fetched."""

    def __init__(self, place: Place, size: int) -> None:
        self._place, self._size, self._position = place, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "seek to before the beginning", self._place.url)
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        end = min(self._position + len(view), self._size)
        data = object_store.read(self._place, self._position, end)
        if len(data) < end - self._position:
            raise OSError(errno.EIO, f"it ends before byte {end}", self._place.url)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_object(place: Place, size: int, *, read_ahead: int = READ_AHEAD) -> BinaryIO:
    """An object of a known size for reading and seeking; at least `read_ahead` bytes at a time."""
    return io.BufferedReader(_ObjectFile(place, size), read_ahead)
