"""What a WORK was begun with: work.json, sealed, never changed afterwards."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.sealed import seal, unseal
from sa_engine.errors import DamagedError, UsageError

WORK_JSON = "work.json"
VERSION = 1


class Mode(StrEnum):
    """What people are asked for."""

    ANNOTATE = "annotate"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings:
    """What changes the answers, so that it cannot be changed under them.

    images: as `list_sources` takes it. sources: digest of the list that came of it.
    out: the dataset to be made.
    proposals: a dataset that images come prefilled with, and its digest.
    existing: a dataset whose masks are shown, and its digest.
    model: the name of the model at the start; None for the brush alone.
    checkpoint: its file, where it is none of the package's.
    sample: so many images at random; None for all. seed: of what is drawn.
    order: how the next image is chosen.
    min_area: smallest mask that may be finished, pixels.
    """

    mode: Mode
    images: str | None
    sources: str
    out: str
    proposals: tuple[str, str] | None = None
    existing: tuple[str, str] | None = None
    model: str | None = None
    checkpoint: str | None = None
    sample: int | None = None
    seed: int = 0
    order: str = "listed"
    min_area: int = 0
    max_pixels: int = 200_000_000
    keep_images: bool = True
    images_per_shard: int = 1000
    limit: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of work.json."""
        return {"version": VERSION, **asdict(self), "mode": self.mode.value}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "WorkSettings":
        """What `to_json` gave. KeyError, TypeError or ValueError for anything else."""
        known = {each.name for each in fields(cls)}
        values = {name: content[name] for name in known if name in content}
        for name in ("proposals", "existing"):
            values[name] = values[name] and tuple(values[name])
        return cls(**{**values, "mode": Mode(values["mode"])})


def spell_settings(settings: WorkSettings) -> bytes:
    """The bytes of work.json."""
    return seal(settings.to_json())


def read_settings(work: Path) -> WorkSettings:
    """The settings of WORK. UsageError if it is none, DamagedError if a byte was changed."""
    path = work / WORK_JSON
    if not path.is_file():
        raise UsageError(f"{work} holds no {WORK_JSON}: give the folder of sa-engine annotate")
    content = unseal(path.read_bytes(), name=str(path))
    if content.get("version") != VERSION:
        raise UsageError(
            f"{path} is of version {content.get('version')!r}, this engine reads {VERSION}: "
            "use the engine that made it"
        )
    try:
        return WorkSettings.from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path} is not a {WORK_JSON} of this engine: {error}") from error
