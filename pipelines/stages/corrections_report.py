"""What people made of proposals, image by image and in all: the figures of stage 2.

Proposal precision is the share of shown proposals that people took over or only edited; the
annotators' gain is the share of an image's final masks that nobody had to draw.
"""

import json
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.shards.stats import parquet_name


def proposals_report(folder: Folder, manifest: Manifest, *, num_exported: int) -> dict[str, Any]:
    """The part "proposals" of `import-report.json`, from the rows of a complete dataset.

    num_exported: images of the dataset of proposals.
    """
    images = []
    for index in range(manifest.num_shards):
        with folder.open(parquet_name(index)) as file:
            table = pq.ParquetFile(file).read(columns=["source", "status", "attributes"])
        for row in table.to_pylist():
            said = json.loads(row["attributes"] or "{}").get("proposals")
            if row["status"] == ImageStatus.OK and said is not None:
                images.append({"image": row["source"], **said})
    kept = sum(len(each["kept"]) for each in images)
    ious = [edit["iou"] for each in images for edit in each["edited"]]
    deleted = sum(len(each["deleted"]) for each in images)
    added = sum(each["added"] for each in images)
    shown, final = kept + len(ious) + deleted, kept + len(ious) + added
    timed = [each for each in images if each["seconds"] is not None]
    seconds = sum(each["seconds"] for each in timed) if timed else None
    masks = sum(_final(each) for each in timed)
    return {
        "images": {
            "exported": num_exported,
            "returned": len(images),
            "not_returned": num_exported - len(images),
            "timed": len(timed),
        },
        "shown": shown,
        "kept": kept,
        "edited": len(ious),
        "deleted": deleted,
        "added": added,
        "edited_mean_iou": round(fmean(ious), 4) if ious else None,
        "precision": _share(kept + len(ious), shown),
        "precision_unchanged": _share(kept, shown),
        "share_not_drawn": _share(kept + len(ious), final),
        "share_untouched": _share(kept, final),
        "seconds": seconds,
        "seconds_per_mask": _per(seconds, masks),
        # As the paper counts this stage's time: "excluding the automatic masks".
        "seconds_per_added_mask": _per(seconds, sum(each["added"] for each in timed)),
        "by_image": images,
    }


def _final(image: Mapping[str, Any]) -> int:
    return len(image["kept"]) + len(image["edited"]) + int(image["added"])


def _per(seconds: float | None, count: int) -> float | None:
    return None if seconds is None or not count else round(seconds / count, 3)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
