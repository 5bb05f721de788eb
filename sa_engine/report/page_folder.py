"""A folder that holds a page alone: written under another name, then put in its place."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sa_engine.dataset.folder.draft import draft_of
from sa_engine.dataset.folder.files import explain_write
from sa_engine.errors import OutputError, UsageError

PAGE_NAME = "index.html"
_HEAD_BYTES = 1024


def check_page_folder(
    out: Path, *, generator: str, entries: Sequence[str], apart_from: Sequence[str] = ()
) -> None:
    """Raise UsageError unless a page may be written to `out`: a new or empty folder, or an older
    page of the same command, which will be replaced.

    generator: the command; its pages say so in a `meta` element.
    entries: the names of all that the command writes into the folder.
    apart_from: datasets (folders or URLs) that the folder must not lie in.
    """
    place = out.absolute()
    for each in apart_from:
        dataset = Path(each).absolute()
        if dataset == place or dataset in place.parents:
            raise UsageError(
                f"{out} lies in the dataset {each}, which holds its own files alone: "
                "choose another folder for --out"
            )
    if out.is_dir():
        names = {path.name for path in out.iterdir()}
        if names and not (names <= set(entries) and _is_made_by(out / PAGE_NAME, generator)):
            raise UsageError(
                f"{out} is there already and holds other files: choose a new or empty folder for "
                "--out"
            )
    elif out.exists() or out.is_symlink():
        raise UsageError(f"{out} is a file: choose a new or empty folder for --out")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}; choose another --out") from None
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {out}: no permission there; choose another --out")


@contextmanager
def page_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `out` when the block ends without an error.

    `out` was found fit by `check_page_folder`. Raises OutputError for a full disk and the like;
    then nothing is left of the new folder, and an older page stays.
    """
    place = out.absolute()
    with explain_write(out, OutputError), draft_of(out) as draft:
        draft.mkdir()
        yield draft
        old = draft.with_name(f"{draft.name}.old")
        if place.exists():
            place.rename(old)
        try:
            draft.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise


def _is_made_by(page: Path, generator: str) -> bool:
    try:
        with page.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return f'<meta name="generator" content="{generator}">'.encode() in head
