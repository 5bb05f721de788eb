"""What lies between a foreign annotation file and the engine's records.

An adapter lists the images that an annotation source speaks of, and gives the annotations of any
one of them when asked. Listing is cheap and holds no masks, so that a large file is never in memory
at once and shards of images can be made in any order and by any process.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sa_engine.dataset.records import Stage
from sa_engine.formats.reasons import Note, Repair
from sa_engine.masks.rle import Rle

Box = tuple[float, float, float, float]

_IMAGE_SUFFIX = re.compile(
    r"\.(jpe?g|jpe|jfif|png|webp|tiff?|bmp|dib|gif|avif|jp2|ppm|pgm|mpo|heic)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedMask:
    """One mask as a source has it, drawn in the frame that was asked for.

    name: what the source calls it, for messages.
    regions: how many of the source's regions it was made of, from 1.
    repairs: what had to be changed.
    proposal_id: the mask of a proposed dataset that this one was exported as.
    The rest as in `MaskRecord`; stage and what follows it only where the source states them.
    """

    segmentation: Rle
    name: str
    regions: int = 1
    repairs: tuple[Repair, ...] = ()
    category: str | None = None
    annotator: str | None = None
    time_spent_s: float | None = None
    iscrowd: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    stage: Stage = Stage.MANUAL
    predicted_iou: float | None = None
    stability_score: float | None = None
    crop_box_xywh: Box | None = None
    point_coords_xy: tuple[tuple[float, float], ...] = ()
    prompt_box_xywh: Box | None = None
    box_score: float | None = None
    proposal_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBox:
    """A box that has no mask, (x, y, width, height) in pixels of the frame that was asked for."""

    box_xywh: Box
    name: str
    category: str | None = None
    annotator: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedImage:
    """All that a source says of one image.

    notes: repairs, losses, and what is kept beside the masks (`Beside`).
    attributes: JSON values of the image that have no field of their own.
    """

    masks: tuple[ImportedMask, ...] = ()
    boxes: tuple[ImportedBox, ...] = ()
    notes: tuple[Note, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image that a source speaks of.

    file_name: as the source writes it; it may be unsafe or of another machine.
    other_names: further names to look for, where the first may be mangled.
    any_ending: names without their ending, to look for when no whole name is found.
    subset: the folder, or part of the data set, that the source says the image is in; images of one
        name in two subsets are two images.
    """

    file_name: str
    other_names: tuple[str, ...] = ()
    any_ending: tuple[str, ...] = ()
    subset: str | None = None


def listed_image(
    file_name: str, *other_names: str | None, subset: str | None = None
) -> ListedImage:
    """The image of a name as foreign files have it: with a suffix or without one."""
    others = tuple(name for name in other_names if name and name != file_name)
    bare = tuple(name for name in (file_name, *others) if not _IMAGE_SUFFIX.search(name))
    return ListedImage(file_name, others, bare, subset)


class AnnotationSource(Protocol):
    """An opened annotation source. Instances can be sent to other processes."""

    @property
    def images(self) -> Sequence[ListedImage]:
        """Every image, in the source's order."""
        ...

    @property
    def notes(self) -> Sequence[Note]:
        """Repairs and losses that belong to no image that could be imported."""
        ...

    @property
    def categories(self) -> Sequence[Mapping[str, Any]]:
        """The source's own list of categories, as JSON values; empty where it has none."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What the source says of itself as a whole (licences, origin), as JSON values."""
        ...

    @property
    def image_folder(self) -> str | None:
        """Where the source's images lie by that format's custom, as `list_sources` takes it."""
        ...

    @property
    def unlisted_are_empty(self) -> bool:
        """Whether pictures that the source does not speak of are known to hold no object."""
        ...

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """(height, width) of the picture that image `index` was annotated on, if it says so."""
        ...

    def count(self, index: int) -> int:
        """How many regions image `index` has, sound or not, of whatever kind.

        As many come out of `read`: in masks, as boxes, and counted in losses.
        """
        ...

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """The annotations of image `index`, drawn for a picture of (height, width) pixels.

        Whatever is wrong with them becomes a note; nothing is raised for bad annotations.
        """
        ...
