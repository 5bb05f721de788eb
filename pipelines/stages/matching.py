"""Which pictures annotations belong to, and which of the images that were exported as proposals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sa_engine.dataset.sources.listing import SourceList
from sa_engine.errors import UsageError
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.names import Found, ImageNames
from sa_engine.formats.readers.label_studio import LabelStudioSource
from sa_engine.formats.reasons import Loss, Note, Repair
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
    names = ImageNames(listing)
    places: dict[int, list[int]] = {}
    notes = []
    for index, image in enumerate(annotations.images):
        found = names.find(image)
        if not isinstance(found, Found):
            notes.append(Note(found, image.file_name, of_images=True))
            lost = annotations.count(index)
            if lost:
                notes.append(Note(found, f"annotations of {image.file_name}", lost))
            continue
        notes += [Note(repair, image.file_name, of_images=True) for repair in found.repairs]
        if found.position in places:
            notes.append(Note(Repair.REPEATED_IMAGE, image.file_name, of_images=True))
        places.setdefault(found.position, []).append(index)
    if not places:
        example = f", {annotations.images[0].file_name!r} among them" if annotations.images else ""
        raise UsageError(
            f"none of the {len(annotations.images)} images of the annotations{example} is among "
            f"the {len(names)} pictures given: give the folder that holds them with --images"
        )
    unlisted = len(names) - len(places)
    chosen = range(len(names)) if annotations.unlisted_are_empty else sorted(places)
    positions = chosen[:limit]
    sources = listing.take(positions)
    indices = {
        source.name: tuple(places.get(position, ()))
        for source, position in zip(sources, positions, strict=True)
    }
    return Matched(sources, indices, tuple(notes), unlisted)


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
        elif isinstance(annotations, LabelStudioSource) and not any(
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
