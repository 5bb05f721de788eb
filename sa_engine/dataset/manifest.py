"""The manifest: what a dataset is and with which options it is made."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from sa_engine.dataset.folder.base import Folder, open_folder
from sa_engine.dataset.folder.card import CARD, CARD_NAME
from sa_engine.dataset.folder.layout import SPARE_INPUTS, SPARE_MANIFEST
from sa_engine.dataset.folder.sealed import canonical, seal, unseal
from sa_engine.dataset.records import Stage
from sa_engine.dataset.sources.frozen import INPUTS_NAME, Frozen, freeze
from sa_engine.dataset.sources.growth import list_change
from sa_engine.dataset.sources.source_list import Source, SourceList
from sa_engine.errors import DamagedError, DatasetError, UsageError
from sa_engine.version import __version__

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
MOST_SHARDS = 2_000_000
"""Shards of one dataset; each is three files of one folder."""

Option = str | int | float | bool | None | list[str] | list[int] | list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """The weights that made a dataset: their name and the hex SHA-256 of their file."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierList:
    """The input list before it grew: see the fields of `Manifest`. limit: the option, if any."""

    num_images: int
    sources_sha256: str
    inputs_sha256: str
    limit: Option = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a dataset is. Two runs with equal manifests and inputs make equal bytes.

    stage: the stage that makes it; None for a mixture (see each mask's own).
    model: the weights used; None where people or another tool made the masks.
    options: every option that changes the result, by its name on the command line.
    num_images: rows of the frozen input list.
    images_per_shard: images of every shard but the last, from 1. Where the list has grown, a new
        shard begins, so that shards that are complete stay as they are.
    sources_sha256: digest of the input list's content; "" until the dataset is opened.
    inputs_sha256: hex SHA-256 of inputs.parquet; "" until the dataset is opened.
    history: the lists before this one, the first first; each is the beginning of the next.
    """

    stage: Stage | None
    num_images: int
    model: ModelRef | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    images_per_shard: int = 1000
    sources_sha256: str = ""
    inputs_sha256: str = ""
    history: tuple[EarlierList, ...] = ()
    format_version: int = FORMAT_VERSION
    engine_version: str = __version__

    def __post_init__(self) -> None:
        if self.images_per_shard < 1:
            raise UsageError(f"images per shard must be 1 or more, not {self.images_per_shard}")
        if self.num_shards > MOST_SHARDS:
            raise UsageError(
                f"{self.num_images} images in shards of {self.images_per_shard} are "
                f"{self.num_shards} shards, limit {MOST_SHARDS}: choose larger --images-per-shard"
            )
        if self.num_images < 0:
            raise UsageError(f"a dataset cannot have {self.num_images} images")

    @property
    def num_shards(self) -> int:
        """Shards that a complete dataset has."""
        return sum(-(-(end - start) // self.images_per_shard) for start, end in self._parts())

    def image_ids(self, shard_index: int) -> range:
        """The image ids of a shard. UsageError if there is no such shard."""
        first = 0
        for start, end in self._parts():
            count = -(-(end - start) // self.images_per_shard)
            if 0 <= shard_index - first < count:
                begin = start + (shard_index - first) * self.images_per_shard + 1
                return range(begin, min(begin + self.images_per_shard, end + 1))
            first += count
        raise UsageError(f"there is no shard {shard_index}: the dataset has {self.num_shards}")

    def shard_of(self, image_id: int) -> int:
        """The shard of an image id."""
        first = 0
        for start, end in self._parts():
            if image_id <= end:
                break
            first += -(-(end - start) // self.images_per_shard)
        return first + (image_id - 1 - start) // self.images_per_shard

    def as_of(self, shard_index: int) -> "Manifest":
        """The manifest as it was when a shard came to be; later growth has not touched it."""
        first = 0
        place = 0
        for start, end in self._parts():
            first += -(-(end - start) // self.images_per_shard)
            place += shard_index >= first
        if place >= len(self.history):
            return self
        then = self.history[place]
        limit = {"limit": then.limit} if "limit" in self.options else {}
        return replace(
            self,
            num_images=then.num_images,
            sources_sha256=then.sources_sha256,
            inputs_sha256=then.inputs_sha256,
            history=self.history[:place],
            options={**self.options, **limit},
        )

    def _parts(self) -> Iterator[tuple[int, int]]:
        """(images before, images after) of the first list and of each growth."""
        return pairwise((0, *(each.num_images for each in self.history), self.num_images))

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
            **({"history": [asdict(each) for each in self.history]} if self.history else {}),
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
            history=tuple(EarlierList(**each) for each in content.get("history", ())),
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

    sources: the input list; None to continue with the list that is frozen in the dataset. A list
        that holds further images makes the dataset grow: they come after those that it has, in
        shards of their own.

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
    return _store(folder, manifest, sources)


def _store(folder: Folder, manifest: Manifest, sources: Sequence[Source]) -> Manifest:
    """Write the list and then the manifest, and second copies of both, see `spares`.

    A reader, or a worker, that has either of before goes on: a list that has grown begins as it
    did.
    """
    begins = [each.num_images for each in manifest.history]
    frozen: Frozen = freeze(
        folder, sources, images_per_shard=manifest.images_per_shard, begins=begins
    )
    manifest = replace(
        manifest, sources_sha256=frozen.sources_sha256, inputs_sha256=frozen.file_sha256
    )
    sealed = seal(manifest.to_json())
    if not begins:
        # What nothing else could restore is safe before the dataset is one.
        folder.write(SPARE_INPUTS, folder.read(INPUTS_NAME))
        folder.write(SPARE_MANIFEST, sealed)
        if folder.size(CARD_NAME) is None:
            folder.write(CARD_NAME, CARD.encode("ascii"))
    folder.write(MANIFEST_NAME, sealed)
    if begins:
        folder.write(SPARE_INPUTS, folder.read(INPUTS_NAME))
        folder.write(SPARE_MANIFEST, sealed)
    return manifest


def _continue(folder: Folder, manifest: Manifest, sources: Sequence[Source] | None) -> Manifest:
    stored = read_manifest(folder)
    for name, there, here in _differences(stored, manifest):
        raise UsageError(_explain(folder, name, there, here))
    if sources is None or SourceList.of(sources).digest() == stored.sources_sha256:
        return stored
    change = list_change(folder, sources)
    if change.problem:
        raise UsageError(
            f"{folder.url} cannot go on with these images: {change.problem}: give all that it was "
            "made of (a larger --limit, or none) and more if you like; or give another --out, and "
            "unite the two with `sa-engine merge`"
        )
    if change.grown is None:
        return stored
    earlier = EarlierList(
        num_images=stored.num_images,
        sources_sha256=stored.sources_sha256,
        inputs_sha256=stored.inputs_sha256,
        limit=stored.options.get("limit"),
    )
    limit = {"limit": manifest.options["limit"]} if "limit" in manifest.options else {}
    grown = replace(
        stored,
        num_images=len(change.grown),
        history=(*stored.history, earlier),
        options={**stored.options, **limit},
    )
    return _store(folder, grown, change.grown)


_NOT_SET = object()


def _differences(stored: Manifest, wanted: Manifest) -> list[tuple[str, Any, Any]]:
    """(name, stored value, wanted value) of everything that differs but the inputs."""
    # Through JSON, where a tuple is a list.
    there, here = (json.loads(canonical(each.to_json())) for each in (stored, wanted))
    for either in (there, here):
        # The list itself tells more about other inputs than these; see `_continue`.
        for name in ("sources_sha256", "inputs_sha256", "num_images", "num_shards", "history"):
            either.pop(name, None)
        either["options"].pop("limit", None)
        for name in ("stage", "model", "images_per_shard"):
            either["options"].setdefault(name, either.pop(name))
        for name, value in either.pop("options").items():
            either[name.replace("-", "_")] = value
    names = sorted({*there, *here})
    pairs = [(name, there.get(name, _NOT_SET), here.get(name, _NOT_SET)) for name in names]
    return [
        (name, a, b) for name, a, b in pairs if a != b or isinstance(a, bool) != isinstance(b, bool)
    ]


_CONTENTS = {
    "annotations": "the annotations have changed since {out} was made of them",
    "proposals": "{out} was made of other proposals than those given with --proposals",
    "existing": "{out} was made beside other masks than those given with --existing",
    "detector": "{out} was made with another detector",
    "stage": "{out} was made by another stage ({there}) than this ({here})",
    "model": "{out} was made with the model {there}, this run has {here}",
    "engine_version": "{out} was made by sa-engine {there}, this is {here}",
    "merge": "{out} was merged from other datasets, or these have changed since",
    "split": "{out} is another part of a split",
    "split_of": "{out} was split off another dataset, or that has changed since",
    "split_draws": "{out} was split off with another --val",
    "split_fraction": "{out} was split off with another --val",
}
"""What differs where an option of the manifest is no option of the command line: a digest, say."""


def _explain(folder: Folder, name: str, there: Any, here: Any) -> str:
    """What differs, and what to do."""
    advice = (
        "choose another --out to begin again; `sa-engine merge` unites the two if both are wanted"
    )
    if name in _CONTENTS:
        text = _CONTENTS[name].format(out=folder.url, there=_show(there), here=_show(here))
        return f"{text}: {advice}"
    option = f"--{name.replace('_', '-')}"
    made = f"without {option}" if there is _NOT_SET else f"with {option} {_show(there)}"
    now = "does not give it" if here is _NOT_SET else f"has {_show(here)}"
    return f"{folder.url} was made {made}, this run {now}: give the same value, or {advice}"


def _show(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"name", "sha256"}:
        return f"{value['name']} ({value['sha256'][:12]})"
    return repr(value) if isinstance(value, str) else str(value)


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a dataset, complete or not."""
    return open_folder(path).size(MANIFEST_NAME) is not None
