"""How two runs of everything mode agree, as a table, a Markdown page, or JSON."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sa_engine.automask.comparison import Comparison, ImageComparison
from sa_engine.automask.parity import Parity, summarise
from sa_engine.dataset.records import MaskRecord
from sa_engine.evaluation.summary import layout

HEAD = (
    *("image", "order", "masks A", "masks B", "matched", "mean IoU", "least IoU"),
    *("only A", "only B", "score change"),
)


def as_text(comparison: Comparison, *, markdown: bool = False) -> str:
    """What was compared, a line for each image, and one for all of them."""
    lines = [_line(image.source, [image.parity]) for image in comparison.images]
    lines.append(_line("all", [image.parity for image in comparison.images]))
    text = [
        f"A: {_about(comparison.first)}",
        f"B: {_about(comparison.second)}",
        f"The same mask: IoU of at least {comparison.match_iou:g}.",
    ]
    page = ["# Parity", "", *(f"* {line}" for line in text)] if markdown else text
    page += ["", layout(HEAD, lines, markdown=markdown), ""]
    summary = comparison.summary
    if summary.masks_first:
        page.append(f"B has {100 * summary.matched_share:.2f} % of A's masks.")
    else:
        page.append("A has no mask in these images, so nothing was compared: lower the thresholds.")
    page[-1] += _times(comparison.images)
    if comparison.first == comparison.second:
        page.append("A and B are the same: this is a run twice over.")
    page += [f"not read: {name}: {error}" for name, error in comparison.failures]
    return "\n".join(page) + "\n"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Every pair of masks, and every mask without a partner."""
    summary = comparison.summary
    return {
        "first": dict(comparison.first),
        "second": dict(comparison.second),
        "match_iou": comparison.match_iou,
        "generator": asdict(comparison.generator),
        "summary": {
            **asdict(summary),
            "matched_share": summary.matched_share,
            "only_first": summary.only_first,
            "only_second": summary.only_second,
        },
        "images": [_image(image) for image in comparison.images],
        "failures": [{"image": name, "error": error} for name, error in comparison.failures],
    }


def _image(image: ImageComparison) -> dict[str, Any]:
    parity = image.parity
    return {
        "image": image.source,
        "identical": parity.identical,
        "masks_first": len(image.first),
        "masks_second": len(image.second),
        "seconds_first": round(image.seconds_first, 4),
        "seconds_second": round(image.seconds_second, 4),
        "matches": [asdict(match) for match in parity.matches],
        "only_first": [_mask(image.first, i) for i in parity.only_first],
        "only_second": [_mask(image.second, i) for i in parity.only_second],
    }


def _mask(records: Sequence[MaskRecord], index: int) -> dict[str, Any]:
    record = records[index]
    return {
        "position": index,
        "bbox": list(record.bbox_xywh),
        "area": record.area,
        "predicted_iou": record.predicted_iou,
        "stability_score": record.stability_score,
        "segmentation": record.segmentation.to_coco(),
    }


def _line(name: str, parities: Sequence[Parity]) -> list[str]:
    s = summarise(parities)
    order = "same" if s.identical_images == s.images else _order(parities)
    return [
        name,
        order,
        *(f"{n:,}" for n in (s.masks_first, s.masks_second, s.matched)),
        f"{s.mean_iou:.4f}",
        f"{s.least_iou:.4f}",
        *(f"{n:,}" for n in (s.only_first, s.only_second)),
        f"{s.greatest_score_change:.4f}",
    ]


def _order(parities: Sequence[Parity]) -> str:
    """ "pixels": the same masks in the same order, but for pixels; else "differs"."""
    kept = all(
        not p.only_first and not p.only_second and all(m.first == m.second for m in p.matches)
        for p in parities
    )
    return "pixels" if kept else "differs"


def _about(side: Mapping[str, str]) -> str:
    return f"{side['model']}, {side['precision']} on {side['device']}"


def _times(images: Sequence[ImageComparison]) -> str:
    if not images:
        return ""
    first, second = (
        statistics.median(getattr(image, name) for image in images)
        for name in ("seconds_first", "seconds_second")
    )
    return f" Median time an image: A {first:.2f} s, B {second:.2f} s."
