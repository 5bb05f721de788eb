"""A public set in any format that can be imported, read as a dataset while it is needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sa_engine.dataset.folder.place import is_url
from sa_engine.dataset.manifest import is_dataset
from sa_engine.errors import UsageError
from sa_engine.formats.registry import Format
from sa_engine.pipelines.run.worker import Reading
from sa_engine.pipelines.stages.manual import ImportRun, run_import


@dataclass(frozen=True, slots=True)
class Opened:
    """A dataset to be read. note: how it came about, "" if it is one as it lies."""

    path: Path | str
    note: str = ""


@contextmanager
def opened(
    path: Path | str, *, images: str | None, kind: Format | None, scratch: Path
) -> Iterator[Opened]:
    """The dataset at a path, or the annotations there imported into a folder that goes afterwards.

    images: where the pictures of foreign annotations lie, as for `import`. scratch: where there is
    room. Raises UsageError if it is neither.
    """
    if is_url(path) or is_dataset(path):
        yield Opened(path)
        return
    if not Path(path).exists():
        raise UsageError(f"there is no {path}: give a dataset, or annotations of a known format")
    with TemporaryDirectory(dir=scratch, prefix=".report-") as folder:
        run = ImportRun(
            annotations=Path(path),
            out=Path(folder) / "data",
            images=images,
            format=kind,
            reading=Reading(keep_images=False),
        )
        summary = run_import(run)
        note = f"read as {summary.format.value}"
        if summary.report is not None:
            dropped = summary.report["masks"]["dropped"]
            if dropped:
                note += f"; masks left out: {_listed(dropped)}"
            missing = summary.report["images"]["notes"]
            if missing:
                note += f"; images: {_listed(missing)}"
        yield Opened(run.out, note)


def _listed(reasons: Mapping[str, object]) -> str:
    parts = []
    for reason, said in reasons.items():
        count = said.get("count", "") if isinstance(said, dict) else said
        parts.append(f"{count} {reason}".strip())
    return ", ".join(parts)
