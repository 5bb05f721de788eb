"""What must be known of all masks before the first is written: categories and ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sa_engine.dataset.records import ImageRecord, MaskRecord
from sa_engine.formats.writers.base_writer import UNCATEGORISED, ExportedBox, boxes_of

Pair = tuple[str, Any]
"""A category's name, and the id that it had in its source; None if it had none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is known of all masks before the first is written.

    categories: in the order of their ids, with the records that the source had of them; several may
        have one name.
    category_ids: the id of each name, of several the first.
    category_of_none: the name that masks without a category get; None if there are none.
    keeps_image_ids, keeps_mask_ids: whether the source's ids are whole and unique.
    has_boxes: whether there are boxes without a mask.
    about: what the source says of itself as a whole.
    ids_of_pairs: the id of each name and source's id.
    """

    categories: tuple[Mapping[str, Any], ...] = ()
    category_ids: Mapping[str, int] = field(default_factory=dict)
    category_of_none: str | None = None
    keeps_image_ids: bool = False
    keeps_mask_ids: bool = False
    has_boxes: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    ids_of_pairs: Mapping[Pair, int] = field(default_factory=dict)

    def id_of(self, region: MaskRecord | ExportedBox) -> int:
        """The id of a mask's or a box's category."""
        if region.category is None:
            return self.category_ids[self.category_of_none or UNCATEGORISED]
        return self.ids_of_pairs[_pair(region.category, region)]

    def shares_name(self, region: MaskRecord | ExportedBox) -> bool:
        """Whether other categories have the same name."""
        return [each["name"] for each in self.categories].count(region.category) > 1


def survey_of(
    records: Iterable[ImageRecord],
    source_categories: Sequence[Mapping[str, Any]] = (),
    about: Mapping[str, Any] | None = None,
) -> Survey:
    """Look through all images that will be written.

    source_categories: the source's own list, for what else it says of each category.
    Ids of the source are kept where every image, mask or category has one and no two are equal.
    """
    pairs: dict[Pair, None] = {}
    image_ids, mask_ids = _Ids(), _Ids()
    any_without = has_boxes = False
    for record in records:
        image_ids.add(record.attributes.get("source_id"))
        boxes = boxes_of(record)
        has_boxes = has_boxes or bool(boxes)
        regions: list[MaskRecord | ExportedBox] = [*record.annotations, *boxes]
        for region in regions:
            mask_ids.add(region.attributes.get("source_id"))
            if region.category is None:
                any_without = True
            else:
                pairs[_pair(region.category, region)] = None
    listed = {
        (each["name"], each["id"]): each
        for each in source_categories
        if isinstance(each.get("id"), int) and isinstance(each.get("name"), str) and each["name"]
    }
    ids = _ids_of_pairs(pairs, listed)
    categories = {
        number: {**listed.get((name, number), {}), "id": number, "name": name}
        for (name, _), number in sorted(ids.items(), key=lambda item: item[1])
    }
    by_name: dict[str, int] = {}
    for number, category in categories.items():
        by_name.setdefault(str(category["name"]), number)
    if any_without and UNCATEGORISED not in by_name:
        number = max(categories, default=0) + 1
        by_name[UNCATEGORISED] = number
        categories[number] = {"id": number, "name": UNCATEGORISED}
    return Survey(
        categories=tuple(categories.values()),
        category_ids=by_name,
        category_of_none=UNCATEGORISED if any_without else None,
        keeps_image_ids=image_ids.are_usable,
        keeps_mask_ids=mask_ids.are_usable,
        has_boxes=has_boxes,
        about=about or {},
        ids_of_pairs=ids,
    )


def _pair(name: str, region: MaskRecord | ExportedBox) -> Pair:
    number = region.attributes.get("category_id")
    return name, number if isinstance(number, int | str | float) else None


def _ids_of_pairs(pairs: Iterable[Pair], listed: Iterable[Pair]) -> dict[Pair, int]:
    """The source's ids if they are whole and of one name each; else from 1, one to a name.

    A name without an id has that of its namesake if there is just one.
    """
    every = list(dict.fromkeys([*listed, *sorted(pairs, key=repr)]))
    ids_by_name: dict[str, list[Any]] = {}
    for name, number in every:
        own = ids_by_name.setdefault(name, [])
        if number is not None:
            own.append(number)
    numbers = [number for own in ids_by_name.values() for number in own]
    usable = all(type(number) is int and number >= 0 for number in numbers)
    single = all(len(ids_by_name[name]) == 1 for name, number in every if number is None)
    if usable and single and len(set(numbers)) == len(numbers):
        return {
            (name, number): ids_by_name[name][0] if number is None else number
            for name, number in every
        }
    first = {name: number for number, name in enumerate(ids_by_name, start=1)}
    return {(name, number): first[name] for name, number in every}


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
