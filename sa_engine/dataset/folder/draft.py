"""Files and folders in the making: whole under their name, or not there.

A draft lies beside its name in a folder `.NAME.<random>.draft` that its process has locked. What
dead processes have left is removed when the next draft of that name is begun.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sa_engine.dataset.folder.files import explain_write
from sa_engine.errors import OutputError

_LOCK, _SUFFIX = "lock", ".draft"


@contextlib.contextmanager
def draft_of(final: Path) -> Iterator[Path]:
    """A path at which to make the file or folder that is to be `final`, and to rename it from.

    Nothing of it stays. Raises OSError if there can be no draft.
    """
    place = final.absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_dead(place)
    folder, lock = _begin(place)
    try:
        yield folder / place.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def written_whole(final: Path) -> Iterator[Path]:
    """A path at which to write a file; it gets its name when the block ends without an error.

    Raises OutputError if it cannot be written; what had that name before stays then.
    """
    with explain_write(final, OutputError), draft_of(final) as draft:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(final)


def _begin(place: Path) -> tuple[Path, int]:
    """A new folder, and its lock, which is held."""
    while True:
        folder = place.parent / f".{place.name[:100]}.{os.urandom(6).hex()}{_SUFFIX}"
        folder.mkdir()
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        # Taken for a dead one in the moment before it was locked.
        os.close(lock)


def _remove_dead(place: Path) -> None:
    """Remove the drafts of processes that have ended: nobody holds their lock."""
    start = f".{place.name[:100]}."
    for folder in place.parent.iterdir():
        middle = folder.name.removeprefix(start).removesuffix(_SUFFIX)
        if folder.name != f"{start}{middle}{_SUFFIX}" or len(middle) != 12:
            continue
        with contextlib.suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
