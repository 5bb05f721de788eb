"""Which pictures annotations belong to, and which of the images that were exported as proposals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sa_engine.dataset.sources.listing import SourceList
from sa_engine.errors import UsageError
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.joined import JoinedSource
from sa_engine.formats.names import Found, ImageNames
from sa_engine.formats.readers.label_studio import LabelStudioSource
from sa_engine.formats.reasons import EXPLANATIONS, Loss, Note, Repair
from sa_engine.pipelines.stages.corrections import ProposalSet


@dataclass(frozen=True, slots=True)
class Matched:
    """The pictures that annotations were found for.

    sources: sorted by name, as the dataset lists them.
    indices: for each source's name, its places in the annotation source.
    notes: on images of the annotation source that could not be matched, or not as they were named.
    num_unlisted: pictures that the annotation source does not speak of.
    """

    sources: SourceList
    indices: Mapping[str, tuple[int, ...]]
    notes: Sequence[Note]
    num_unlisted: int


def match(
    annotations: AnnotationSource, listing: SourceList, *, limit: int | None = None
) -> Matched:
    """Find each annotated image among the listed pictures. UsageError if none is found.

    limit: only the first so many pictures of the result.
    """
    subsets = frozenset(image.subset for image in annotations.images if image.subset)
    names = ImageNames(listing, subsets)
    places: dict[int, list[int]] = {}
    notes: list[Note] = []
    for index, image in enumerate(annotations.images):
        found = names.find(image)
        if not isinstance(found, Found):
            notes += _lost(annotations, index, found, names.hint(image))
            continue
        notes += [Note(repair, image.file_name, of_images=True) for repair in found.repairs]
        places.setdefault(found.position, []).append(index)
    for position, fitting in list(places.items()):
        kept = _of_one_image(annotations, fitting, names.name(position))
        for index in fitting:
            if index not in kept:
                notes += _lost(annotations, index, Loss.IMAGE_SHARED)
        for index in kept[1:]:
            what = annotations.images[index].file_name
            notes.append(Note(Repair.REPEATED_IMAGE, what, of_images=True))
        places[position] = kept
        if not kept:
            del places[position]
    if not places:
        raise UsageError(_nothing_found(annotations, names))
    unlisted = len(names) - len(places)
    chosen = range(len(names)) if annotations.unlisted_are_empty else sorted(places)
    positions = chosen[:limit]
    sources = listing.take(positions)
    indices = {
        source.name: tuple(places.get(position, ()))
        for source, position in zip(sources, positions, strict=True)
    }
    return Matched(sources, indices, tuple(notes), unlisted)


def _lost(
    annotations: AnnotationSource, index: int, reason: Loss, hint: str | None = None
) -> list[Note]:
    """Notes on an image of the annotations that has no picture."""
    name = annotations.images[index].file_name
    notes = [Note(reason, f"{name} ({hint})" if hint else name, of_images=True)]
    lost = annotations.count(index)
    return [*notes, Note(reason, f"annotations of {name}", lost)] if lost else notes


def _of_one_image(
    annotations: AnnotationSource, indices: Sequence[int], file_name: str
) -> list[int]:
    """Those of the images found in one file that are one image: masks of two are never joined.

    Of images of several names, the one that is called as the file is; none if none is.
    """
    images = {index: annotations.images[index] for index in indices}
    called = {index: (image.subset, image.file_name) for index, image in images.items()}
    if len(set(called.values())) == 1:
        return list(indices)
    exact = [
        index
        for index, image in images.items()
        if file_name in (image.file_name, f"{image.subset}/{image.file_name}")
    ]
    return exact if len({called[index] for index in exact}) == 1 else []


def _nothing_found(annotations: AnnotationSource, names: ImageNames) -> str:
    images = annotations.images
    if not images:
        reasons = {EXPLANATIONS[note.reason] for note in annotations.notes}
        said = f" ({'; '.join(sorted(reasons))})" if reasons else ""
        return f"the annotations speak of no image{said}: give a file that names its images"
    for image in images:
        if names.find(image) is Loss.IMAGE_AMBIGUOUS:
            like = " and ".join(names.like(image)[:3])
            return (
                f"{image.file_name!r} of the annotations is ambiguous, for it may be {like}: give "
                "the folder of the pictures that are meant with --images"
            )
    hint = names.hint(images[0])
    return (
        f"none of the {len(images)} images of the annotations, {images[0].file_name!r} among them, "
        f"is among the {len(names)} pictures given{f' ({hint})' if hint else ''}: give the folder "
        "that holds them with --images"
    )


def match_proposals(
    annotations: AnnotationSource,
    listing: SourceList,
    proposals: ProposalSet,
    *,
    limit: int | None = None,
) -> tuple[Matched, Mapping[str, tuple[int, ...]]]:
    """`match`, and for each source's name the ids of the images that it may be among the
    proposals.

    Images that were never exported, and tasks that nobody has answered, are noted and left out.
    Raises UsageError if none is left.
    """
    matched = match(annotations, listing)
    exported: dict[str, tuple[int, ...]] = {}
    notes = list(matched.notes)
    for name, places in matched.indices.items():
        image_ids = tuple(
            dict.fromkeys(
                image_id
                for place in places
                for image_id in proposals.find(annotations.images[place])
            )
        )
        if not image_ids:
            reason = Loss.NOT_EXPORTED
        elif isinstance(annotations, LabelStudioSource | JoinedSource) and not any(
            map(annotations.is_answered, places)
        ):
            reason = Loss.UNANSWERED
        else:
            exported[name] = image_ids
            continue
        notes.append(Note(reason, name, of_images=True))
        lost = sum(map(annotations.count, places))
        if lost:
            notes.append(Note(reason, f"annotations of {name}", lost))
    if not exported:
        example = next(iter(matched.indices), "")
        raise UsageError(
            f"none of the {len(matched.indices)} corrected images ({example!r} among them) was "
            "exported from the proposals, or none was answered: give the dataset that was exported "
            "with --proposals"
        )
    kept = [place for place, source in enumerate(matched.sources) if source.name in exported]
    sources = matched.sources.take(kept[:limit])
    indices = {source.name: matched.indices[source.name] for source in sources}
    return Matched(sources, indices, tuple(notes), matched.num_unlisted), exported
