"""Label Studio's JSON export: tasks, each with what one or more people annotated.

Format: https://labelstud.io/guide/export.html. Regions and answers that share an `id` belong
together. Which picture a region is of is told by `label_studio_pictures`; who drew it by the
annotation's `completed_by`. What a model proposed (`predictions`) or nobody submitted (`drafts`) is
no annotation, but for masks that the engine itself wrote there and that nobody has answered.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ListedImage
from sa_engine.formats.codecs.jsonfile import ByteSpan, JsonFile
from sa_engine.formats.fields import keepable, number, whole_size
from sa_engine.formats.readers.gather import Gatherer
from sa_engine.formats.readers.label_studio_pictures import Picture, PictureFinder, pictures_of
from sa_engine.formats.readers.label_studio_regions import answers_of, read_answer, regions_of
from sa_engine.formats.reasons import Beside, Loss, Note

MODEL_VERSION = "sa-engine"
"""How the `model_version` of predictions begins that the engine exported."""


class LabelStudioSource:
    """A Label Studio JSON export: a list of tasks, or one task. See `AnnotationSource`."""

    unlisted_are_empty = False

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path)
        self.categories: Sequence[Mapping[str, Any]] = ()
        self.about: Mapping[str, Any] = {}
        self.images: list[ListedImage] = []
        self.notes: list[Note] = []
        self._places: list[tuple[ByteSpan, int]] = []
        self._counts: list[int] = []
        self._answered: list[bool] = []
        self._sizes: list[tuple[int, int] | None] = []
        self._is_only_tag = len(self._tags()) < 2
        for task, span in self._tasks():
            self._add(task, span)

    @property
    def image_folder(self) -> str | None:
        """`images` beside the file, or the file's own folder."""
        beside = self._file.path.parent / "images"
        return str(beside if beside.is_dir() else self._file.path.parent)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        return self._sizes[index]

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        return self._counts[index]

    def is_answered(self, index: int) -> bool:
        """Whether anybody has submitted an answer to the task, be it an empty one."""
        return self._answered[index]

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        span, place = self._places[index]
        task, _ = self._file.value(span)
        places = self._places_of(pictures_of(task))
        gatherer = Gatherer(size_hw)
        answers: dict[str, Any] = {}
        for answer, loss in _all_answers(task):
            results = _results(answer)
            regions = [each for each in regions_of(results) if places.of(each) == place]
            if isinstance(loss, Beside):
                gatherer.note(loss, "proposals", len(regions))
                continue
            read_answer(answer, results, regions, gatherer, loss=loss)
            if loss is None:
                answers |= answers_of(results).get("", {})
        data = task.get("data")
        known = {"source_id": task.get("id"), "file_name": self.images[index].file_name}
        times = [number(answer.get("lead_time")) for answer in _people(task)]
        if any(time is not None for time in times):
            known["lead_time_s"] = sum(time for time in times if time is not None)
        if answers:
            known["answers"] = answers
            gatherer.note(Beside.TAGS, "answers", len(answers))
        given = task.get("meta")
        meta = given.get("attributes") if isinstance(given, dict) else None
        further = meta if isinstance(meta, dict) else {}
        return gatherer.finish(keepable({**further, **known, "data": data}))

    def _tasks(self) -> Iterable[tuple[Any, ByteSpan]]:
        if self._file.outermost() == "[":
            return ((each.value, each.span) for each in self._file.elements())
        return self._only_task()

    def _only_task(self) -> list[tuple[Any, ByteSpan]]:
        span = self._file.whole()
        try:
            task, _ = self._file.value(span)
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f"{self._file.path} is not JSON: {error}") from error
        if not isinstance(task, dict) or "data" not in task:
            raise AnnotationError(
                f"{self._file.path} is not a list of Label Studio's tasks, nor one of them"
            )
        return [(task, span)]

    def _tags(self) -> set[str]:
        """The image tags that regions of the file are of."""
        return {
            str(region.get("to_name"))
            for task, _ in self._tasks()
            if isinstance(task, dict)
            for answer, _ in _all_answers(task)
            for region in regions_of(_results(answer))
            if isinstance(region, dict)
        }

    def _add(self, task: Any, span: ByteSpan) -> None:
        pictures = pictures_of(task)
        regions = [
            region
            for answer, loss in (_all_answers(task) if isinstance(task, dict) else ())
            for region in regions_of(_results(answer))
            if not isinstance(loss, Beside)
        ]
        what = f"task at byte {span.offset}"
        if isinstance(task, dict) and task.get("id") is not None:
            what = f"task {task['id']}"
        if not pictures:
            self.notes.append(Note(Loss.NO_FILE_NAME, what, of_images=True))
            if regions:
                self.notes.append(Note(Loss.NO_FILE_NAME, f"regions of {what}", len(regions)))
            return
        where = self._places_of(pictures)
        places = [where.of(region) for region in regions]
        drawn: dict[int | None, list[Any]] = {}
        for region, at in zip(regions, places, strict=True):
            drawn.setdefault(at, []).append(region)
        lost = places.count(None)
        if lost:
            self.notes.append(Note(Loss.UNKNOWN_PICTURE, what, lost))
        # Of the links in the task's data, those on which nothing was drawn may be of anything.
        keys = {pictures[0].key, *(pictures[place].key for place in places if place is not None)}
        is_answered = any(not each.get("was_cancelled") for each in _people(task))
        for place, picture in enumerate(pictures):
            own = drawn.get(place, [])
            if picture.key not in keys:
                continue
            sizes = (_size(region) for region in own)
            self.images.append(picture.listed)
            self._places.append((span, place))
            self._counts.append(len(own))
            self._answered.append(is_answered)
            self._sizes.append(next((size for size in sizes if size), None))

    def _places_of(self, pictures: Sequence[Picture]) -> PictureFinder:
        return PictureFinder(pictures, is_only_tag=self._is_only_tag)


def _all_answers(
    task: Mapping[str, Any],
) -> list[tuple[Mapping[str, Any], Loss | Beside | None]]:
    """All that a task holds of regions, each with why it is not taken; None if it is."""
    people = _people(task)
    found: list[tuple[Mapping[str, Any], Loss | Beside | None]]
    found = [(a, Loss.CANCELLED if a.get("was_cancelled") else None) for a in people]
    for prediction in _objects(task.get("predictions")):
        version = prediction.get("model_version")
        is_ours = isinstance(version, str) and version.startswith(MODEL_VERSION)
        ours = Beside.ANSWERED if people else None
        found.append((prediction, ours if is_ours else Loss.PREDICTION))
    return [*found, *((draft, Loss.DRAFT) for draft in _objects(task.get("drafts")))]


def _people(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What people gave; `completions` is its name in exports of before version 1.0."""
    return _objects(task.get("annotations", task.get("completions")))


def _objects(given: Any) -> list[Mapping[str, Any]]:
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []


def _results(answer: Mapping[str, Any]) -> list[Any]:
    given = answer.get("result")
    return given if isinstance(given, list) else []


def _size(region: Any) -> tuple[int, int] | None:
    if not isinstance(region, dict):
        return None
    return whole_size(region.get("original_height"), region.get("original_width"))
