"""WORK on disk: its settings, frozen list, links and drafts, and that one server has it."""

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.base import explain_write, open_folder, sync_folder, write_synced
from sa_engine.dataset.sources.frozen import INPUTS_NAME, freeze
from sa_engine.dataset.sources.source_list import SourceList
from sa_engine.errors import UsageError
from sa_engine.formats.work.log import JOURNAL
from sa_engine.formats.work.settings import (
    WORK_JSON,
    WorkSettings,
    read_settings,
    spell_settings,
)

LINKS = "links.json"
DRAFTS = "drafts"
CACHE = "cache"
LOCK = "lock"
ANNOTATOR = re.compile(r"[A-Za-z0-9._-]{1,64}")

_OPTIONS = {"keep_images": "no-images"}
"""Names of options that are not their settings' names."""


def open_work(work: Path, settings: WorkSettings, sources: SourceList) -> None:
    """Make WORK, or check that it was made with these settings.

    Raises UsageError if it holds something else, or was begun with another option (named).
    """
    if (work / WORK_JSON).is_file():
        _check_same(work, settings)
        return
    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        raise UsageError(
            f"{work} is no folder of sa-engine annotate and not empty: name another with --work"
        )
    with explain_write(work):
        for name in (JOURNAL, DRAFTS, CACHE):
            (work / name).mkdir(parents=True, exist_ok=True)
        freeze(open_folder(work), sources, images_per_shard=settings.images_per_shard)
        # Last: a WORK that has it is whole.
        replace_file(work / WORK_JSON, spell_settings(settings))


def _check_same(work: Path, settings: WorkSettings) -> None:
    before = read_settings(work)
    for each in fields(WorkSettings):
        then, now = getattr(before, each.name), getattr(settings, each.name)
        if then != now:
            option = _OPTIONS.get(each.name, each.name.replace("_", "-"))
            raise UsageError(
                f"{work} was begun with another --{option} ({_shown(then)}, now {_shown(now)}): "
                f"continue it with `sa-engine annotate --work {work}` alone, or name another --work"
            )


def _shown(value: Any) -> str:
    return "none" if value in (None, ()) else str(value)


@contextlib.contextmanager
def locked(work: Path, address: str) -> Iterator[None]:
    """Within: no other server has WORK. UsageError, naming the other, if one has."""
    path = work / LOCK
    with explain_write(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.read(descriptor, 4096).decode("utf-8", "replace").strip()
            raise UsageError(
                f"{work} is served already ({said or 'by another process'}): use that server, "
                "or stop it first"
            ) from None
        except OSError as error:
            raise UsageError(
                f"{work} cannot be locked ({error.strerror}): keep it on a local disk"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}, {address}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def read_links(work: Path, annotators: Sequence[str], *, renew: bool = False) -> dict[str, str]:
    """Each annotator's token; new ones get theirs. renew: forget all tokens first.

    Raises UsageError for a name that is not 1 to 64 letters, digits or `.-_`.
    """
    for name in annotators:
        if not ANNOTATOR.fullmatch(name):
            raise UsageError(
                f"--annotator {name!r}: names are 1 to 64 letters, digits or any of .-_"
            )
    path = work / LINKS
    known: dict[str, str] = {}
    if path.is_file():
        known = json.loads(path.read_text("utf-8"))
    wanted = annotators or list(known)
    tokens = {} if renew else dict(known)
    for name in wanted:
        tokens.setdefault(name, secrets.token_urlsafe(32))
    if tokens != known:
        replace_file(path, json.dumps(tokens, indent=1).encode("ascii"), mode=0o600)
    return tokens


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put a whole file, durable before it is seen. Raises DatasetError as `explain_write`."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with explain_write(path):
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode))
            write_synced(temporary, data)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def is_work(work: Path) -> bool:
    """Whether it is a WORK that was begun."""
    return (work / WORK_JSON).is_file() and (work / INPUTS_NAME).is_file()
