"""Masks as the page takes them."""

from collections.abc import Mapping
from typing import Any

from sa_engine.annotate.shown import ShownMasks
from sa_engine.formats.work.folding import Drawn, ImageWork, active
from sa_engine.masks.rle import Rle, area, bbox_xywh


def rle_of(event: Mapping[str, Any]) -> Rle:
    """The mask of an event."""
    height, width = event["rle"]["size"]
    return Rle((height, width), event["rle"]["counts"])


def page_mask(drawn: Drawn) -> dict[str, Any]:
    """A mask that is there."""
    last = drawn.last or {}
    rle = rle_of(last)
    return {
        "id": drawn.id,
        "revision": drawn.revision,
        "rle": rle.to_coco(),
        "area": area(rle),
        "box": list(bbox_xywh(rle)),
        "by": last["by"],
        "how": last["how"],
        "proposal": last.get("proposal"),
        "seconds": round(sum(map(active, drawn.clock.values())), 1),
    }


def page_proposals(
    shown: ShownMasks | None, work: ImageWork, name: str, size_hw: tuple[int, int]
) -> list[dict[str, Any]]:
    """An image's proposals and what was said of them."""
    if shown is None:
        return []
    return [
        {**each, "verdict": work.verdict(each["id"]).value}
        for each in shown.for_page(name, size_hw)
    ]
