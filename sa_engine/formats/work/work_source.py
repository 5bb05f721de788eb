"""People's answers as a source of annotations: what `sa-engine import WORK` reads."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.folder.sealed import canonical
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, MaskRecord
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.errors import UsageError
from sa_engine.formats.base import ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry
from sa_engine.formats.readers.gather import Gatherer
from sa_engine.formats.reasons import Loss, Note
from sa_engine.formats.work.folding import (
    Decision,
    Drawn,
    ImageState,
    ImageWork,
    active,
    fold,
    totals,
)
from sa_engine.formats.work.log import read_journal
from sa_engine.formats.work.settings import WorkSettings, read_settings

_Place = tuple[int, dict[str, Any], Mapping[str, Any]]
"""A mask's place in the order of answers, its fields, and its RLE."""

_DONE = (ImageState.DONE, ImageState.FAILED)


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answered image: its work, and its proposals in the dataset they are from."""

    work: ImageWork
    name: str
    proposed: int | None


class WorkSource:
    """See `AnnotationSource`. Images that nobody has answered, or that were skipped, are noted.

    first, last: only images whose answer is an event of these numbers, both included.

    Raises UsageError if it is no WORK, DamagedError if its journal is damaged.
    """

    unlisted_are_empty = False

    def __init__(
        self,
        path: Path,
        *,
        first: int = 0,
        last: int | None = None,
        accept_damage: bool = False,
    ) -> None:
        self.settings: WorkSettings = read_settings(path)
        events = read_journal(path).believed(accept_damage=accept_damage)
        if last is not None:
            events = [event for event in events if event["n"] <= last]
        answers = fold(events)
        names = [source.name for source in FrozenInputs(open_folder(path)).all()]
        proposals = self.settings.proposals
        self._proposals = None if proposals is None else Dataset(proposals[0])
        if self._proposals is not None and self._proposals.digest() != (proposals or ("", ""))[1]:
            raise UsageError(
                f"{self._proposals.folder.url} is not the dataset that people were shown: "
                "restore it, or give its place"
            )
        proposed = {} if self._proposals is None else proposals_by_name(self._proposals)
        self._answered: list[_Answered] = []
        notes: dict[Loss, list[str]] = {Loss.UNANSWERED: [], Loss.SKIPPED: []}
        for image_id, name in enumerate(names, 1):
            work = answers.images.get(image_id)
            if work is not None and work.state in _DONE and (work.answered or 0) >= first:
                self._answered.append(_Answered(work, name, proposed.get(name)))
            elif work is not None and work.state is ImageState.SKIPPED:
                notes[Loss.SKIPPED].append(name)
            else:
                notes[Loss.UNANSWERED].append(name)
        self.notes: Sequence[Note] = [
            Note(reason, name, of_images=True) for reason, names in notes.items() for name in names
        ]
        # Members of tars are looked for by the names that they have inside.
        self.images: Sequence[ListedImage] = [
            ListedImage(each.name.partition(".tar!")[2] or each.name) for each in self._answered
        ]
        self.categories: Sequence[Mapping[str, Any]] = ()
        self.about: Mapping[str, Any] = {}
        self.image_folder = self.settings.images

    @property
    def fingerprint(self) -> str:
        """Digest of the answers; other files of WORK change without changing it."""
        digest = hashlib.sha256(canonical(self.settings.to_json()).encode("ascii"))
        for each in self._answered:
            said = {
                "name": each.name,
                "state": each.work.state.value,
                "masks": [drawn.last for drawn in each.work.live()],
                "verdicts": [each.work.verdicts[key] for key in sorted(each.work.verdicts)],
                "attributes": self._attributes(each),
            }
            digest.update(canonical(said).encode("ascii"))
        return digest.hexdigest()

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        for drawn in self._answered[index].work.live():
            if drawn.last is not None:
                height, width = drawn.last["rle"]["size"]
                return int(height), int(width)
        return None

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        answered = self._answered[index]
        return len(answered.work.live()) + len(self._untouched(answered))

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        answered = self._answered[index]
        gatherer = Gatherer(size_hw)
        places: list[_Place] = []
        for drawn in answered.work.live():
            if drawn.last is not None:
                places.append((drawn.first, _drawn_fields(drawn), drawn.last["rle"]))
        places += self._untouched(answered)
        for _, fields, rle in sorted(places, key=lambda place: place[0]):
            gatherer.add(fields, geometry.foreign_rle(rle, size_hw))
        return gatherer.finish(self._attributes(answered))

    def _untouched(self, answered: _Answered) -> list[_Place]:
        if answered.proposed is None or self._proposals is None:
            return []
        return _untouched(answered.work, self._proposals.record(answered.proposed))

    def _attributes(self, answered: _Answered) -> dict[str, Any]:
        work = answered.work
        annotators = work.seconds_by()
        said: dict[str, Any] = {
            "annotators": annotators,
            "picked": work.picked,
            "models": list(work.models),
            "masks_removed": work.removed,
        }
        return {"annotate": said, "lead_time_s": round(sum(annotators.values()), 3)}


def proposals_by_name(dataset: Dataset) -> dict[str, int]:
    """The dataset's image ids by the names that its images have as sources and as files."""
    ids: dict[str, int] = {}
    for record in dataset.images():
        if record.file_name:
            shard = f"sa_{dataset.manifest.shard_of(record.image_id):06d}.tar"
            ids.setdefault(record.source, record.image_id)
            ids[f"{shard}!{record.file_name}"] = record.image_id
    return ids


def _drawn_fields(drawn: Drawn) -> dict[str, Any]:
    last = drawn.last or {}
    clock = list(drawn.clock.values())
    said = {
        "mask": drawn.id,
        "revision": drawn.revision,
        "how": last["how"],
        "reviewed": True,
        "seconds": totals(clock),
        "history": drawn.history,
        **{key: last[key] for key in _KEPT if last.get(key) is not None},
    }
    return {
        "name": f"mask {drawn.id}",
        "annotator": last["by"],
        "time_spent_s": round(sum(map(active, clock)), 3),
        "proposal_id": last.get("proposal"),
        "attributes": {"annotate": said},
    }


_KEPT = ("clicks", "strokes", "prompts", "candidate", "frame", "model", "cut")
"""Of a mask's event, what goes into the dataset as it is."""


def _untouched(work: ImageWork, record: ImageRecord) -> list[_Place]:
    """Proposals that were kept, or that nobody decided on before the image was done."""
    found = []
    for position, mask in enumerate(record.annotations):
        number = record.mask_id(position)
        decision = work.verdict(number)
        if decision in (Decision.KEPT, Decision.UNDECIDED):
            event = work.verdicts.get(number, {}) if decision is Decision.KEPT else {}
            place = int(event.get("n", 1 << 60))
            found.append((place, _kept_fields(work, mask, number, event), _coco(mask)))
    return found


def _kept_fields(
    work: ImageWork, mask: MaskRecord, number: int, event: Mapping[str, Any]
) -> dict[str, Any]:
    clock = event.get("clock") or ()
    said: dict[str, Any] = {"how": Decision.KEPT.value, "reviewed": bool(event)}
    if event:
        said["seconds"] = totals(clock)
    return {
        "name": f"proposal {number}",
        "annotator": event.get("by", work.by),
        "time_spent_s": round(sum(map(active, clock)), 3) if event else None,
        "category": mask.category,
        "proposal_id": number,
        "attributes": {"annotate": said},
    }


def _coco(mask: MaskRecord) -> Mapping[str, Any]:
    return mask.segmentation.to_coco()
