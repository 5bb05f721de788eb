"""The manifest: what a dataset is and with which options it is made."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sa_engine.dataset.folder.base import Folder, open_folder
from sa_engine.dataset.folder.layout import SPARE_INPUTS, SPARE_MANIFEST
from sa_engine.dataset.folder.sealed import canonical, seal, unseal
from sa_engine.dataset.records import Stage
from sa_engine.dataset.sources.frozen import (
    INPUTS_NAME,
    describe_difference,
    freeze,
    lacks_only_vanished,
)
from sa_engine.dataset.sources.source_list import Source, SourceList
from sa_engine.errors import DamagedError, DatasetError, UsageError
from sa_engine.version import __version__

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1

Option = str | int | float | bool | None | list[str] | list[int] | list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """The weights that made a dataset: their name and the hex SHA-256 of their file."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a dataset is. Two runs with equal manifests and inputs make equal bytes.

    stage: the stage that makes it; None for a mixture (see each mask's own).
    model: the weights used; None where people or another tool made the masks.
    options: every option that changes the result, by its name on the command line.
    num_images: rows of the frozen input list.
    images_per_shard: images of every shard but the last, from 1.
    sources_sha256: digest of the input list's content; "" until the dataset is opened.
    inputs_sha256: hex SHA-256 of inputs.parquet; "" until the dataset is opened.
    """

    stage: Stage | None
    num_images: int
    model: ModelRef | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    images_per_shard: int = 1000
    sources_sha256: str = ""
    inputs_sha256: str = ""
    format_version: int = FORMAT_VERSION
    engine_version: str = __version__

    def __post_init__(self) -> None:
        if self.images_per_shard < 1:
            raise UsageError(f"images per shard must be 1 or more, not {self.images_per_shard}")
        if self.num_images < 0:
            raise UsageError(f"a dataset cannot have {self.num_images} images")

    @property
    def num_shards(self) -> int:
        """Shards that a complete dataset has."""
        return -(-self.num_images // self.images_per_shard)

    def image_ids(self, shard_index: int) -> range:
        """The image ids of a shard. UsageError if there is no such shard."""
        if not 0 <= shard_index < self.num_shards:
            raise UsageError(f"there is no shard {shard_index}: the dataset has {self.num_shards}")
        first = shard_index * self.images_per_shard + 1
        return range(first, min(first + self.images_per_shard, self.num_images + 1))

    def shard_of(self, image_id: int) -> int:
        """The shard of an image id."""
        return (image_id - 1) // self.images_per_shard

    def to_json(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return {
            "format_version": self.format_version,
            "engine_version": self.engine_version,
            "stage": None if self.stage is None else self.stage.value,
            "model": None
            if self.model is None
            else {"name": self.model.name, "sha256": self.model.sha256},
            "options": dict(self.options),
            "num_images": self.num_images,
            "num_shards": self.num_shards,
            "images_per_shard": self.images_per_shard,
            "sources_sha256": self.sources_sha256,
            "inputs_sha256": self.inputs_sha256,
        }


def read_manifest(folder: Folder) -> Manifest:
    """The manifest of a dataset. UsageError if there is none, DamagedError if it is damaged."""
    try:
        data = folder.read(MANIFEST_NAME)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{folder.url} is not a dataset: it has no {MANIFEST_NAME}; "
            "give the folder that --out named"
        ) from error
    except OSError as error:
        raise UsageError(
            f"cannot read {folder.url}/{MANIFEST_NAME}: {error.strerror}: get permission to read it"
        ) from error
    content = unseal(data, name=f"{folder.url}/{MANIFEST_NAME}")
    if content.get("format_version") != FORMAT_VERSION:
        raise DatasetError(
            f"{folder.url} has format version {content.get('format_version')}, this engine reads "
            f"{FORMAT_VERSION}: use the engine that wrote it ({content.get('engine_version')})"
        )
    try:
        model = content["model"]
        manifest = Manifest(
            stage=None if content["stage"] is None else Stage(content["stage"]),
            model=None if model is None else ModelRef(name=model["name"], sha256=model["sha256"]),
            options=content["options"],
            num_images=content["num_images"],
            images_per_shard=content["images_per_shard"],
            sources_sha256=content["sources_sha256"],
            inputs_sha256=content["inputs_sha256"],
            format_version=content["format_version"],
            engine_version=content["engine_version"],
        )
        consistent = manifest.num_shards == content["num_shards"]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder.url}/{MANIFEST_NAME} lacks or misspells {error}") from error
    if not consistent:
        raise DamagedError(f"{folder.url}/{MANIFEST_NAME}: shard and image counts disagree")
    return manifest


def open_output(
    out: str | os.PathLike[str],
    manifest: Manifest,
    sources: Sequence[Source] | None,
) -> Manifest:
    """Begin a dataset at `out`, or check that the one there may be continued.

    sources: the input list; None to continue with the list that is frozen in the dataset.

    Returns the manifest as it is stored. Raises UsageError if `out` is no place for a dataset, or
    holds one that was made with other options or inputs (named, with both values).
    """
    folder = open_folder(out)
    folder.prepare()
    with folder.opening():
        if folder.size(MANIFEST_NAME) is None:
            return _begin(folder, manifest, sources)
        return _continue(folder, manifest, sources)


def _begin(folder: Folder, manifest: Manifest, sources: Sequence[Source] | None) -> Manifest:
    if sources is None:
        raise UsageError(f"{folder.url} is not a dataset yet: give the images to begin with")
    if len(sources) != manifest.num_images:
        raise ValueError(f"{len(sources)} sources for a manifest of {manifest.num_images} images")
    frozen = freeze(folder, sources, images_per_shard=manifest.images_per_shard)
    manifest = replace(
        manifest, sources_sha256=frozen.sources_sha256, inputs_sha256=frozen.file_sha256
    )
    # Second copies of what nothing else could restore, see `spares`.
    folder.write(SPARE_INPUTS, folder.read(INPUTS_NAME))
    folder.write(SPARE_MANIFEST, seal(manifest.to_json()))
    folder.write(MANIFEST_NAME, seal(manifest.to_json()))
    return manifest


def _continue(folder: Folder, manifest: Manifest, sources: Sequence[Source] | None) -> Manifest:
    stored = read_manifest(folder)
    for name, there, here in _differences(stored, manifest):
        made = f"without {name}" if there is _NOT_SET else f"with {name} {_show(there)}"
        now = "does not give it" if here is _NOT_SET else f"has {_show(here)}"
        raise UsageError(
            f"{folder.url} was made {made}, this run {now}: "
            "give the same value to continue it, or another --out to begin anew"
        )
    if sources is None:
        return stored
    if SourceList.of(sources).digest() != stored.sources_sha256:
        if lacks_only_vanished(folder, sources):
            # The frozen list stands: those images fail as missing, until they are put back.
            return stored
        raise UsageError(
            f"{folder.url} was made from other inputs: "
            f"{describe_difference(folder, sources)}: "
            "give the same images to continue it, or another --out to begin anew"
        )
    return stored


_NOT_SET = object()


def _differences(stored: Manifest, wanted: Manifest) -> list[tuple[str, Any, Any]]:
    """(name, stored value, wanted value) of everything that differs but the inputs."""
    # Through JSON, where a tuple is a list.
    there, here = (json.loads(canonical(each.to_json())) for each in (stored, wanted))
    for either in (there, here):
        # The list itself tells more about other inputs than these; see `_continue`.
        for name in ("sources_sha256", "inputs_sha256", "num_images", "num_shards"):
            del either[name]
        for name in ("stage", "model", "images_per_shard"):
            either["options"].setdefault(name, either.pop(name))
        for name, value in either.pop("options").items():
            either[f"--{name.replace('_', '-')}"] = value
    names = sorted({*there, *here})
    pairs = [(name, there.get(name, _NOT_SET), here.get(name, _NOT_SET)) for name in names]
    return [
        (name, a, b) for name, a, b in pairs if a != b or isinstance(a, bool) != isinstance(b, bool)
    ]


def _show(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"name", "sha256"}:
        return f"{value['name']} ({value['sha256'][:12]})"
    return repr(value) if isinstance(value, str) else str(value)


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a dataset, complete or not."""
    return open_folder(path).size(MANIFEST_NAME) is not None
