"""Why annotations are changed or lost, on the way in and on the way out, and counting them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Repair(StrEnum):
    """Why an annotation was changed on its way in."""

    CLIPPED = "clipped-to-image"
    RING_LEFT_OUT = "broken-ring-left-out"
    FLAT_POLYGON = "polygon-nesting"
    RUNS_PADDED = "runs-padded"
    BYTES_AS_TEXT = "bytes-as-text"
    REPEATED_ID = "repeated-id"
    REPEATED_IMAGE = "image-listed-twice"
    UNKNOWN_CATEGORY = "unknown-category"
    ENCODING = "not-utf8"
    UNSAFE_NAME = "unsafe-file-name"
    SIZE_SWAPPED = "swapped-size-fields"
    TURNED_UPRIGHT = "turned-upright"
    STRETCHED = "stretched-upright"
    BOX_DIFFERS = "own-box-differs"
    AREA_DIFFERS = "own-area-differs"
    VOID_255 = "255-taken-as-void"


class Loss(StrEnum):
    """Why an annotation, or every annotation of an image, could not be taken."""

    EMPTY = "empty-mask"
    BAD_POLYGON = "bad-polygon"
    BAD_RLE = "bad-rle"
    BAD_SHAPE = "bad-shape"
    RLE_SIZE = "rle-size-differs"
    IMAGE_SIZE = "image-size-differs"
    NO_IMAGE = "no-such-image"
    NO_FILE_NAME = "image-without-name"
    AMBIGUOUS_IMAGE_ID = "ambiguous-image-id"
    IMAGE_MISSING = "image-file-missing"
    IMAGE_AMBIGUOUS = "image-file-ambiguous"
    IMAGE_SHARED = "image-file-shared"
    IMAGE_FAILED = "image-unreadable"
    UNSUPPORTED_SHAPE = "unsupported-shape"
    ROTATED_VIEW = "rotated-view"
    CANCELLED = "cancelled"
    PREDICTION = "prediction"
    BAD_RECORD = "not-an-annotation"
    BAD_FILE = "bad-file"
    BOX_FAILED = "box-without-area"
    UNKNOWN_SHAPE = "unknown-shape"
    NO_SHAPE = "no-shape"
    TRACK = "track-of-a-video"
    DRAFT = "draft"
    UNKNOWN_PICTURE = "picture-not-told"
    NO_MAP = "not-a-map"
    NOT_EXPORTED = "never-exported"
    UNANSWERED = "unanswered"
    SKIPPED = "skipped"


class Beside(StrEnum):
    """What a source says beside its regions, and what is kept of it."""

    TAGS = "tags"
    CAPTIONS = "captions"
    KEY_POINTS = "key-points"
    FILES = "files-passed-over"
    ANSWERED = "proposals-answered"


class Lossy(StrEnum):
    """What a mask loses in a format that cannot hold it."""

    HOLES_CUT = "holes-joined-by-cuts"
    PARTS_CUT = "parts-joined-by-cuts"
    CORNERS_CUT = "corners-joined"
    OVERLAPPED = "overlapped"
    HIDDEN = "hidden"
    NO_CATEGORY = "category-left-out"
    CATEGORY_ADDED = "category-added"
    NO_DETAILS = "details-left-out"
    NO_IMAGE_DETAILS = "image-details-left-out"
    NO_BOX = "box-left-out"
    NO_ABOUT = "source-notes-left-out"
    SAME_NAME = "categories-of-one-name-joined"
    IMAGE_FAILED = "image-left-out"


EXPLANATIONS: Mapping[StrEnum, str] = {
    Repair.CLIPPED: "points lay outside the image; what lay outside is gone",
    Repair.RING_LEFT_OUT: "one ring of several was broken (odd, short or not finite) and left out",
    Repair.FLAT_POLYGON: "the polygon was nested one level too few or too many",
    Repair.RUNS_PADDED: "the run lengths ended before the image did; the rest is background",
    Repair.BYTES_AS_TEXT: "the run lengths were Python bytes written as text",
    Repair.REPEATED_ID: "the annotation's id was used before; ids are given anew",
    Repair.REPEATED_IMAGE: "the image was listed more than once; its annotations were joined",
    Repair.UNKNOWN_CATEGORY: "the category is not in the file's list; kept without a name",
    Repair.ENCODING: "text was not UTF-8 and was read as Windows-1252",
    Repair.UNSAFE_NAME: "an absolute name or one with '..'; only its last part was looked for",
    Repair.SIZE_SWAPPED: "width and height were swapped in the file",
    Repair.TURNED_UPRIGHT: "drawn on the picture as stored; turned upright with it (EXIF)",
    Repair.STRETCHED: "shares of the upright picture, written with the sides of the stored one",
    Repair.BOX_DIFFERS: "the record's own box is not that of its mask, which was kept as it is",
    Repair.AREA_DIFFERS: "the record's own area is not that of its mask, which was kept as it is",
    Repair.VOID_255: "pixels of value 255 were taken as unlabelled",
    Loss.EMPTY: "no pixel of the image is inside",
    Loss.BAD_POLYGON: "no ring with 3 points or more, in pairs of finite numbers",
    Loss.BAD_RLE: "the run lengths are damaged",
    Loss.BAD_SHAPE: "numbers are missing, not finite or out of range",
    Loss.RLE_SIZE: "the mask's size is not the image's",
    Loss.IMAGE_SIZE: "the picture on disk has another size than the annotations were made for",
    Loss.NO_IMAGE: "the annotation names an image that the file does not list",
    Loss.NO_FILE_NAME: "the image has no file name",
    Loss.AMBIGUOUS_IMAGE_ID: "several images share the id: whose annotations these are is unknown",
    Loss.IMAGE_MISSING: "no such file in the image folder",
    Loss.IMAGE_AMBIGUOUS: "several files of that name: give the folder of those meant (--images)",
    Loss.IMAGE_SHARED: "several images of the annotations fit this file, none by its whole name",
    Loss.IMAGE_FAILED: "the image file could not be read",
    Loss.UNSUPPORTED_SHAPE: "points, lines, cuboids and the like have no area",
    Loss.UNKNOWN_SHAPE: "a kind of region that this version does not read",
    Loss.NO_SHAPE: "it has neither a mask nor a box",
    Loss.TRACK: "a shape of a video's track: export the task as 'CVAT for images 1.1'",
    Loss.DRAFT: "a draft that nobody has submitted",
    Loss.UNKNOWN_PICTURE: "the task has several pictures, and nothing tells which one is meant",
    Loss.NO_MAP: "a picture of many colours, which no list of colours explains, rather than a map",
    Loss.ROTATED_VIEW: "drawn on a view that the annotator had rotated",
    Loss.CANCELLED: "the annotator skipped or cancelled it",
    Loss.PREDICTION: "a model made it, and nobody took it over",
    Loss.BAD_RECORD: "the record is not an annotation as the format has them",
    Loss.BAD_FILE: "the file of this image's annotations cannot be read",
    Loss.BOX_FAILED: "the box has no area inside the image, or the model found nothing in it",
    Loss.NOT_EXPORTED: "no such image among the proposals that were exported",
    Loss.UNANSWERED: "nobody has submitted an answer yet; its proposals stay undecided",
    Beside.TAGS: "of whole images, kept as their attributes",
    Beside.CAPTIONS: "of whole images, kept as their attributes",
    Beside.KEY_POINTS: "kept as attributes of their masks, boxes or images",
    Beside.ANSWERED: "people have answered them: the answers are what was read",
    Beside.FILES: "beside the masks' own: captions, key points, boxes of images without masks",
    Loss.SKIPPED: "the annotator skipped the image",
    Lossy.HOLES_CUT: "one ring only: holes are joined to it by cuts without width",
    Lossy.PARTS_CUT: "one ring only: the parts are joined by cuts, which tools draw a pixel wide",
    Lossy.CORNERS_CUT: "pieces touch by a corner alone: a tool may draw a pixel more there",
    Lossy.OVERLAPPED: "one object a pixel: pixels that a smaller mask has too went to that one",
    Lossy.HIDDEN: "one object a pixel: smaller masks cover all of it, so it is gone",
    Lossy.NO_CATEGORY: "the format has no place for the category",
    Lossy.CATEGORY_ADDED: "the format demands a category; it became 'object'",
    Lossy.NO_DETAILS: "no place for annotator, time, crowd mark, scores, prompts or other fields",
    Lossy.NO_IMAGE_DETAILS: "no place for tags and other fields of images",
    Lossy.NO_BOX: "no place for boxes without a mask",
    Lossy.NO_ABOUT: "no place for the source's licences and info",
    Lossy.SAME_NAME: "categories are names here, and several of the source have this one",
    Lossy.IMAGE_FAILED: "the image failed and has no masks",
}


@dataclass(frozen=True, slots=True)
class Note:
    """Repairs or losses of one reason.

    what: the annotation or image, as its source names it.
    count: how many annotations; or images, where whole images are meant.
    """

    reason: Repair | Loss | Beside | Lossy
    what: str
    count: int = 1
    of_images: bool = False


class Tally:
    """Counts of repairs and losses by reason, each with a few named examples."""

    EXAMPLES = 5

    def __init__(self, notes: Iterable[Note] = ()) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}
        for note in notes:
            self.add(note)

    def add(self, note: Note) -> None:
        """Count a note; the first few of a reason are kept by name."""
        self.count(note.reason.value, note.count, [note.what])

    def count(self, reason: str, count: int, examples: Iterable[str] = ()) -> None:
        """Count `count` of a reason."""
        self._counts[reason] = self._counts.get(reason, 0) + count
        kept = self._examples.setdefault(reason, [])
        kept.extend(list(examples)[: self.EXAMPLES - len(kept)])

    def add_json(self, content: Mapping[str, Mapping[str, Any]]) -> None:
        """Add what `to_json` gave elsewhere."""
        for reason, entry in content.items():
            self.count(reason, int(entry["count"]), entry["examples"])

    @property
    def total(self) -> int:
        """All counts together."""
        return sum(self._counts.values())

    def __getitem__(self, reason: StrEnum) -> int:
        return self._counts.get(reason.value, 0)

    def items(self) -> list[tuple[str, int]]:
        """(reason, count), most frequent first."""
        return sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))

    def to_json(self) -> dict[str, dict[str, Any]]:
        """{reason: {"count", "examples"}}, reasons in alphabetical order."""
        return {
            reason: {"count": self._counts[reason], "examples": self._examples[reason]}
            for reason in sorted(self._counts)
        }
