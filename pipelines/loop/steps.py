"""The steps of a loop on disk: each is made once, and known by a digest of all that it depends on.

A step lies in `steps/<kind>-<key>/`; its `step.json`, sealed and written last, says that it is done
and what came of it. A step that was killed is taken up where it stopped. One whose inputs or
options changed has another key and so another folder: what did not change is never made again, and
nothing that was made is ever overwritten.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.base import explain_write, sha256_of, sync_folder, write_synced
from sa_engine.dataset.folder.sealed import canonical, seal, unseal
from sa_engine.dataset.manifest import is_dataset
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.dataset.sources.source_list import SourceList
from sa_engine.errors import DamagedError, NotDone, SaEngineError
from sa_engine.version import __version__

STEP_NAME = "step.json"
CLOCK_NAME = "clock.txt"
TICK_S = 5.0
"""A killed step loses at most this much of the time that it is said to have taken, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that is done.

    kind, key: what names its folder. folder: where it lies.
    inputs: all that it depended on: options, and digests of data and models.
    result: what came of it: digests of its files, and figures; JSON values.
    seconds: that it took, all its runs together.
    """

    kind: str
    key: str
    folder: Path
    inputs: Mapping[str, Any]
    result: Mapping[str, Any]
    seconds: float

    @property
    def id(self) -> str:
        """The step's name in the registry."""
        return f"{self.kind}-{self.key}"


class Clock:
    """Adds up the time of a step over all its runs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CLOCK_NAME
        self._before = read_clock(folder) or 0.0
        self._started = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds spent until now."""
        return self._before + time.monotonic() - self._started

    def tick(self, *_: object) -> None:
        """To be called often: notes the time now and then, lest a kill lose it."""
        if time.monotonic() - self._saved >= TICK_S:
            self._saved = time.monotonic()
            replace_file(self._path, f"{self.seconds:.3f}\n".encode("ascii"))

    def stop(self) -> None:
        """Note the time at the end of a run, whatever ended it."""
        replace_file(self._path, f"{self.seconds:.3f}\n".encode("ascii"))


Work = Callable[[Path, Clock], Mapping[str, Any]]
"""Makes a step in a folder that may hold a part of it already; returns its result."""


class Steps:
    """The steps below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, kind: str, inputs: Mapping[str, Any], *, label: str) -> Step:
        """The step with these inputs. Raises NotDone, or DamagedError if it was tampered with."""
        key = step_key(inputs)
        folder = self._folder / f"{kind}-{key}"
        path = folder / STEP_NAME
        try:
            content = unseal(path.read_bytes(), name=str(path))
        except FileNotFoundError:
            seconds = read_clock(folder) if folder.is_dir() else None
            raise NotDone(kind, label, folder, seconds) from None
        if canonical(content["inputs"]) != canonical(inputs):
            raise DamagedError(f"{path} is of other inputs than its name says: delete its folder")
        step = Step(
            kind=kind,
            key=key,
            folder=folder,
            inputs=content["inputs"],
            result=content["result"],
            seconds=content["seconds"],
        )
        check_files(step)
        return step

    def make(
        self, kind: str, inputs: Mapping[str, Any], work: Work, *, label: str
    ) -> tuple[Step, bool]:
        """The step with these inputs, made now unless it is there; and whether it was made."""
        try:
            return self.find(kind, inputs, label=label), False
        except NotDone as missing:
            folder = missing.folder
        with explain_write(folder):
            folder.mkdir(parents=True, exist_ok=True)
        clock = Clock(folder)
        try:
            result = work(folder, clock)
        finally:
            clock.stop()
        content = {
            "kind": kind,
            "engine_version": __version__,
            "inputs": dict(inputs),
            "result": dict(result),
            "seconds": round(clock.seconds, 3),
        }
        replace_file(folder / STEP_NAME, seal(content))
        return self.find(kind, inputs, label=label), True


def step_key(inputs: Mapping[str, Any]) -> str:
    """What names a step: the first 16 hex digits of a digest of its inputs."""
    return hashlib.sha256(canonical(inputs).encode("ascii")).hexdigest()[:16]


def check_files(step: Step) -> None:
    """Raise DamagedError if a file or dataset of a step is not what it was when it was made."""
    for name, digest in step.result.get("files", {}).items():
        path = step.folder / name
        try:
            found = content_digest(Dataset(path)) if path.is_dir() else file_digest(path)
        except (OSError, SaEngineError):
            found = "missing"
        if found != digest:
            raise DamagedError(
                f"{path} is not what it was when it was made: delete {step.folder} and run the "
                "loop again, it makes the step anew"
            )


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explain_write(path):
        try:
            write_synced(temporary, data)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def read_clock(folder: Path) -> float | None:
    """Seconds that were spent on a step; None if nothing is said of it."""
    try:
        return float((folder / CLOCK_NAME).read_text("ascii"))
    except (OSError, ValueError):
        return None


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return sha256_of(file)


def tree_digest(path: Path) -> str:
    """Hex SHA-256 of a file, or of a folder's file names and contents."""
    if path.is_file():
        return file_digest(path)
    digest = hashlib.sha256()
    for folder, inner, files in os.walk(path):
        inner.sort()
        for name in sorted(files):
            file = Path(folder) / name
            if stat.S_ISREG(file.stat().st_mode):
                line = f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def content_digest(dataset: Dataset) -> str:
    """Hex SHA-256 of a dataset's images and masks, wherever it and its inputs lie."""
    digest = hashlib.sha256()
    for index in dataset.shard_indices:
        stats = dataset.stats(index)
        digest.update(f"{index} {stats.tar.sha256} {stats.parquet.sha256}\n".encode("ascii"))
    return digest.hexdigest()


def listing(images: str) -> SourceList:
    """The images that a config names: as `list_sources`, and a dataset's folder for its images."""
    return list_sources(f"{images}/sa_*.tar" if is_dataset(images) else images)


def listing_digest(sources: SourceList) -> str:
    """Hex SHA-256 of names and sizes of images: cheap, and another one when images change."""
    digest = hashlib.sha256()
    for source in sources:
        size = source.tar_size
        if size is None:
            try:
                size = os.stat(source.uri).st_size  # noqa: PTH116 - the name may not be UTF-8
            except OSError:
                size = -1
        digest.update(f"{source.name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
