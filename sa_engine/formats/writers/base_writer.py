"""What every export shares: which masks go out, under which names, and what they lose."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.errors import UsageError
from sa_engine.formats.names import safe_parts
from sa_engine.formats.reasons import Tally

UNCATEGORISED = "object"
"""The category of masks without one, in formats that demand one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which masks are written.

    min_area: pixels, from 0.
    min_iou: least predicted IoU, [0, 1]; masks of people have none and always pass.
    stages: of these stages only; empty for all.
    """

    min_area: int = 0
    min_iou: float = 0.0
    stages: frozenset[Stage] = frozenset()

    def __post_init__(self) -> None:
        if self.min_area < 0:
            raise UsageError(f"the least area must be 0 or more, not {self.min_area}")
        if not 0 <= self.min_iou <= 1:
            raise UsageError(f"the least predicted IoU must be from 0 to 1, not {self.min_iou}")

    def passes(self, mask: MaskRecord) -> bool:
        """Whether a mask is written."""
        if mask.area < self.min_area or (self.stages and mask.stage not in self.stages):
            return False
        return mask.predicted_iou is None or mask.predicted_iou >= self.min_iou

    def apply(self, record: ImageRecord) -> ImageRecord:
        """The record with the masks that pass."""
        kept = tuple(mask for mask in record.annotations if self.passes(mask))
        return record if len(kept) == len(record.annotations) else replace(record, annotations=kept)


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An image on its way out.

    record: with the masks that are written.
    name: its path in the export, with folders and ending; unique even without its ending.
    mask_ids: the engine's id of each mask.
    load: gives the file's bytes; None if the dataset does not hold it or images are left out.
    """

    record: ImageRecord
    name: str
    mask_ids: tuple[int, ...]
    load: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is known of all masks before the first is written.

    categories: names in the order of their ids, with the records that the source had of them.
    category_ids: the id of each name; the source's own where they are usable.
    category_of_none: the name that masks without a category get; None if there are none.
    keeps_image_ids, keeps_mask_ids: whether the source's ids are whole and unique.
    """

    categories: tuple[Mapping[str, Any], ...] = ()
    category_ids: Mapping[str, int] = field(default_factory=dict)
    category_of_none: str | None = None
    keeps_image_ids: bool = False
    keeps_mask_ids: bool = False


class Writer(Protocol):
    """One format's way out. Made with a folder to write to, then fed image by image."""

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """Write an image; what its masks lose is counted in `losses`."""
        ...

    def finish(self) -> None:
        """Write what could only be written last."""
        ...


def survey_of(
    records: Iterable[ImageRecord], source_categories: Sequence[Mapping[str, Any]] = ()
) -> Survey:
    """Look through all images that will be written.

    source_categories: the source's own list, for what else it says of each category.
    Ids of the source are kept where every image, mask or category has one and no two are equal.
    """
    ids_by_name: dict[str, set[Any]] = {}
    image_ids, mask_ids = _Ids(), _Ids()
    any_without = False
    for record in records:
        image_ids.add(record.attributes.get("source_id"))
        for mask in record.annotations:
            mask_ids.add(mask.attributes.get("source_id"))
            if mask.category is None:
                any_without = True
            else:
                known = ids_by_name.setdefault(mask.category, set())
                known.add(mask.attributes.get("category_id"))
    listed = {
        (each["id"], each["name"]): each
        for each in source_categories
        if isinstance(each.get("id"), int) and isinstance(each.get("name"), str)
    }
    names = [name for _, name in listed if name]
    wanted = dict.fromkeys([*names, *sorted(ids_by_name)])
    category_ids = _category_ids(ids_by_name, listed, list(wanted))
    none_name = None
    if any_without:
        none_name = UNCATEGORISED
        if none_name not in category_ids:
            category_ids[none_name] = max(category_ids.values(), default=0) + 1
    return Survey(
        categories=tuple(
            {**listed.get((number, name), {}), "id": number, "name": name}
            for name, number in category_ids.items()
        ),
        category_ids=category_ids,
        category_of_none=none_name,
        keeps_image_ids=image_ids.are_usable,
        keeps_mask_ids=mask_ids.are_usable,
    )


class _Ids:
    """Whether ids are whole numbers and no two are equal."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._count = 0
        self.are_usable = True

    def add(self, value: object) -> None:
        if not self.are_usable:
            return
        self._count += 1
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.are_usable = False
        else:
            self._seen.add(value)
            self.are_usable = len(self._seen) == self._count
        if not self.are_usable:
            self._seen = set()


def _category_ids(
    ids_by_name: Mapping[str, set[Any]],
    listed: Mapping[tuple[Any, Any], Mapping[str, Any]],
    wanted: Sequence[str],
) -> dict[str, int]:
    """The source's ids if they are whole, one to a name and one name to each; else from 1."""
    ids: dict[str, set[Any]] = {name: set(ids_by_name.get(name, ())) for name in wanted}
    for number, name in listed:
        if name in ids:
            ids[name].add(number)
    single = {name: next(iter(known)) for name, known in ids.items() if len(known) == 1}
    numbers = set(single.values())
    usable = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if usable and len(single) == len(wanted) == len(numbers):
        return dict(sorted(single.items(), key=lambda item: item[1]))
    return {name: number for number, name in enumerate(wanted, start=1)}


class Names:
    """Gives each image a safe path of its own, like the one it had at its source."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, record: ImageRecord) -> str:
        """The path for an image: its source's name, with the ending of the stored file."""
        given = record.attributes.get("file_name")
        name = given if isinstance(given, str) and given else record.source.rpartition("!")[2]
        parts = safe_parts(name) or [record.file_name]
        stored = record.file_name.rpartition(".")[2]
        stem, dot, ending = parts[-1].rpartition(".")
        if not dot:
            stem, ending = parts[-1], ""
        if _kind(ending) != _kind(stored):
            # Either there was no ending, or the image was stored in another format.
            stem, ending = (parts[-1] if ending not in _ENDINGS else stem), stored
        parts[-1] = stem
        if "/".join(parts).lower() in self._taken:
            parts[-1] = f"{record.image_id}_{stem}"
        self._taken.add("/".join(parts).lower())
        return "/".join(parts) + "." + ending


_SAME = {"jpeg": "jpg", "jpe": "jpg", "jfif": "jpg", "mpo": "jpg", "tiff": "tif", "dib": "bmp"}
_ENDINGS = frozenset({"jpg", "png", "webp", "tif", "bmp", "gif", "jp2", "ppm", "avif", *_SAME})


def _kind(ending: str) -> str:
    return _SAME.get(ending.lower(), ending.lower())


def write_file(path: Path, data: bytes) -> None:
    """Write a file in a folder that may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def details(mask: MaskRecord, mask_id: int | None = None) -> dict[str, Any]:
    """What is known of a mask beyond its pixels and category, as `engine_fields` reads it.

    mask_id: given, a proposal says it too, so that a corrected file can be held against it.
    """
    found: dict[str, Any] = {}
    if mask.annotator is not None:
        found["annotator"] = mask.annotator
    if mask.time_spent_s is not None:
        found["time_spent_s"] = mask.time_spent_s
    if mask.stage is not Stage.MANUAL or mask.predicted_iou is not None or mask.point_coords_xy:
        found |= {
            "stage": mask.stage.value,
            "predicted_iou": mask.predicted_iou,
            "stability_score": mask.stability_score,
            "crop_box": list(mask.crop_box_xywh),
            "point_coords": [list(point) for point in mask.point_coords_xy],
        }
        if mask.prompt_box_xywh is not None:
            found["prompt_box"] = list(mask.prompt_box_xywh)
        if mask.box_score is not None:
            found["box_score"] = mask.box_score
        if mask_id is not None and mask.stage is Stage.SEMI_AUTOMATIC:
            found["proposal_id"] = mask_id
    return found


def has_details(mask: MaskRecord) -> bool:
    """Whether something is known of a mask that a format of bare masks drops."""
    known = mask.attributes.keys() - {"source_id", "category_id", "object", "region"}
    return bool(details(mask) or known or mask.iscrowd)
