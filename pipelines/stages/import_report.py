"""`import-report.json`: what an import repaired, what it could not take, and why, with names."""

import json
from typing import Any

import pyarrow.parquet as pq

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.shards.stats import parquet_name
from sa_engine.dataset.verify import REPORT_NAME
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.fields import keepable
from sa_engine.formats.reasons import Beside, Loss, Note, Tally
from sa_engine.formats.registry import Format
from sa_engine.pipelines.stages.matching import Matched


def make_report(
    folder: Folder,
    manifest: Manifest,
    kind: Format,
    annotations: AnnotationSource,
    matched: Matched,
) -> dict[str, Any]:
    """What `import-report.json` says; the same for the same inputs, whoever made the shards."""
    images, repaired, dropped, beside = Tally(), Tally(), Tally(), Tally()
    for note in (*annotations.notes, *matched.notes):
        if isinstance(note.reason, Beside):
            beside.add(note)
        elif note.of_images:
            images.add(note)
        else:
            (dropped if isinstance(note.reason, Loss) else repaired).add(note)
    kept = failed = boxes = segmented = 0
    frames: dict[str, int] = {}
    for index in range(manifest.num_shards):
        with folder.open(parquet_name(index)) as file:
            columns = ["source", "status", "attributes", "annotations.list.element.area"]
            table = pq.ParquetFile(file).read(columns=columns)
        for row in table.to_pylist():
            if row["status"] != ImageStatus.OK:
                failed += 1
                images.add(Note(Loss.IMAGE_FAILED, row["source"], of_images=True))
                for place in matched.indices.get(row["source"], ()):
                    lost = annotations.count(place)
                    if lost:
                        what = f"annotations of {row['source']}"
                        dropped.add(Note(Loss.IMAGE_FAILED, what, lost))
                continue
            kept += len(row["annotations"])
            said = json.loads(row["attributes"] or "{}").get("import", {})
            repaired.add_json(said.get("repaired", {}))
            dropped.add_json(said.get("dropped", {}))
            beside.add_json(said.get("beside", {}))
            boxes += said.get("boxes", 0)
            segmented += said.get("boxes_segmented", 0)
            if "frame" in said:
                frames[said["frame"]] = frames.get(said["frame"], 0) + 1
    return {
        "format": kind.value,
        "images": {
            "listed": len(annotations.images),
            "imported": manifest.num_images - failed,
            "failed": failed,
            "pictures_without_annotations": matched.num_unlisted,
            "frames": frames,
            "notes": images.to_json(),
        },
        "masks": {
            "kept": kept,
            "repaired": repaired.to_json(),
            "dropped": dropped.to_json(),
        },
        "boxes": {"without_masks": boxes, "segmented": segmented},
        "beside": beside.to_json(),
        "categories": keepable(list(annotations.categories)),
        "about": keepable(dict(annotations.about)),
    }


def read_report(folder: Folder) -> dict[str, Any] | None:
    """The content of a dataset's `import-report.json`; None if it has none.

    Raises DamagedError if it is not what was written.
    """
    try:
        data = folder.read(REPORT_NAME)
    except FileNotFoundError:
        return None
    return unseal(data, name=f"{folder.url}/{REPORT_NAME}")
