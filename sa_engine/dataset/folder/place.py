"""Places in object stores, as URLs name them."""

import os
import re
from dataclasses import dataclass

from sa_engine.errors import UsageError

EXTRAS = {"s3": "s3fs", "gs": "gcsfs"}
"""Schemes that are supported, each with the package that reaches its store (an extra of the same
name as the scheme)."""

_URL = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)$", re.DOTALL)
ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    "gs": ("STORAGE_EMULATOR_HOST",),
}
"""Variables of the environment that say where a store is."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is spelled as a URL ("scheme://…")."""
    return _URL.match(os.fspath(path)) is not None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a store: a bucket, and a key or the beginning of keys in it.

    key: without a slash at either end; "" for the bucket itself.
    """

    scheme: str
    bucket: str
    key: str

    @classmethod
    def of(cls, url: str | os.PathLike[str]) -> "Place":
        """The place that a URL names. UsageError if its store is not supported."""
        text = os.fspath(url)
        match = _URL.match(text)
        scheme = match[1].lower() if match else ""
        if match is None or scheme not in EXTRAS:
            known = ", ".join(f"{each}://" for each in EXTRAS)
            raise UsageError(
                f"cannot use {text}: give a local path or a URL that begins with {known}"
            )
        bucket, _, key = match[2].partition("/")
        if not bucket:
            raise UsageError(f"{text} names no bucket: give {scheme}://bucket/folder")
        return cls(scheme, bucket, key.strip("/"))

    @property
    def url(self) -> str:
        """As a person would write it."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    @property
    def path(self) -> str:
        """Bucket and key."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def join(self, name: str) -> "Place":
        """The place of this name below."""
        return Place(self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name)


def last_part(key: str) -> str:
    """The name at the end of a key."""
    return key.rstrip("/").rpartition("/")[2]


def endpoints(scheme: str) -> list[str]:
    """What the environment says of where the store is; "" for what it does not say."""
    return [os.environ.get(name, "") for name in ENDPOINTS[scheme]]
