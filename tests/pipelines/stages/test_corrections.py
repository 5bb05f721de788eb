"""Corrected proposals: out through each tool's format, changed by a person, and back."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.dataset.manifest import Manifest, ModelRef, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.dataset.verify import verify
from sa_engine.errors import UsageError
from sa_engine.formats.codecs import brush, png
from sa_engine.masks.rle import Rle, area, bbox_xywh, decode, encode
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from sa_engine.pipelines.stages.corrections import Match, decide, match_masks
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from tests.support.drawing import grid, save_picture

LEFT = grid("###.....", "###.....", "###.....", "###.....", "........", "........")
RIGHT = grid("......##", "......##", "......##", "......##", "........", "........")
BELOW = grid("........", "........", "........", "........", "########", "########")
# What the person makes of LEFT (IoU 9/12), and what is drawn anew.
SHRUNK = grid("###.....", "###.....", "###.....", "........", "........", "........")
NEW = grid("........", "...##...", "...##...", "........", "........", "........")


def proposal(pixels: Any, **fields: Any) -> MaskRecord:
    coded = encode(pixels)
    known: dict[str, Any] = {
        "stage": Stage.SEMI_AUTOMATIC,
        "predicted_iou": 0.9,
        "stability_score": 0.8,
        "prompt_box_xywh": (0.0, 0.0, 4.0, 4.0),
        "box_score": 0.7,
    }
    return MaskRecord(
        segmentation=coded,
        bbox_xywh=bbox_xywh(coded),
        area=area(coded),
        crop_box_xywh=(0.0, 0.0, 8.0, 6.0),
        **(known | fields),
    )


PROPOSALS = (proposal(LEFT), proposal(RIGHT), proposal(BELOW, attributes={"detector": "abc"}))


def write_proposals(out: Path, pictures: Path, masks: tuple[MaskRecord, ...] = PROPOSALS) -> Path:
    """A dataset of the pictures, each with the same proposals."""
    sources = list_sources(pictures)
    manifest = open_output(
        out,
        Manifest(
            stage=Stage.SEMI_AUTOMATIC,
            num_images=len(sources),
            model=ModelRef(name="m", sha256="0" * 64),
        ),
        sources,
    )
    with ShardWriter(out, 0, manifest=manifest) as writer:
        for image_id, source in enumerate(sources, start=1):
            data = Path(source.uri).read_bytes()
            record = ImageRecord(
                image_id=image_id,
                file_name=f"sa_{image_id}.png",
                source=source.name,
                width=8,
                height=6,
                sha256=hashlib.sha256(data).hexdigest(),
                annotations=masks,
            )
            writer.add(record, data)
        writer.finish()
    return out


@pytest.fixture
def proposals(tmp_path: Path) -> Path:
    """Two pictures with three proposals each."""
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "pictures" / name)
    return write_proposals(tmp_path / "proposals", tmp_path / "pictures")


def correct_coco(folder: Path) -> None:
    path = folder / "instances.json"
    content = json.loads(path.read_bytes())
    first, second, third, *others = content["annotations"]
    assert decode(Rle((6, 8), first["segmentation"]["counts"])).tolist() == LEFT.tolist()
    first["segmentation"] = encode(SHRUNK).to_coco()
    drawn = {"id": 9, "image_id": 1, "category_id": 1, "segmentation": encode(NEW).to_coco()}
    content["annotations"] = [first, third, drawn, *others]
    assert second not in content["annotations"]
    path.write_text(json.dumps(content))


def correct_labelme(folder: Path) -> None:
    path = folder / "a.json"
    content = json.loads(path.read_bytes())
    first, _, third = content["shapes"]
    first["points"] = [[0, 0], [3, 0], [3, 3], [0, 3]]
    # A shape drawn in the tool itself: a patch, and none of the engine's fields.
    patch = base64.b64encode(png.encode_bits(np.ones((2, 2), dtype=bool))).decode()
    drawn = {"label": "object", "shape_type": "mask", "points": [[3, 1], [4, 2]], "mask": patch}
    content["shapes"] = [first, third, drawn]
    path.write_text(json.dumps(content))


def correct_cvat(folder: Path, *, with_attributes: bool = True) -> None:
    path = folder / "annotations.xml"
    text = path.read_text()
    masks = re.findall(r"<mask .*?</mask>\n", text)
    first = re.sub(r'rle="[^"]*" left="0" top="0" width="3" height="4"',
                   'rle="0, 9" left="0" top="0" width="3" height="3"', masks[0])  # fmt: skip
    assert first != masks[0]
    drawn = '<mask label="object" rle="0, 4" left="3" top="1" width="2" height="2"></mask>\n'
    text = text.replace(masks[0], first, 1).replace(masks[1], "", 1)
    text = text.replace(masks[2], masks[2] + drawn, 1)
    if not with_attributes:
        text = re.sub(r"<attribute .*?</attribute>", "", text)
    path.write_text(text)


def correct_label_studio(folder: Path) -> None:
    path = folder / "tasks.json"
    tasks = json.loads(path.read_bytes())
    for task in tasks:
        # What the tool makes of a prediction that somebody opens and submits.
        (prediction,) = task["predictions"]
        task["annotations"] = [{"completed_by": 1, "result": prediction["result"]}]
    answer = tasks[0]["annotations"][0]
    first, _, third = answer["result"]
    first["value"]["rle"] = list(brush.encode(SHRUNK))
    drawn = {key: value for key, value in third.items() if key not in ("meta", "id")}
    drawn = {**drawn, "id": "x1", "value": {**third["value"], "rle": list(brush.encode(NEW))}}
    answer["result"] = [first, third, drawn]
    answer["lead_time"] = 12.5
    path.write_text(json.dumps(tasks))


TOOLS: dict[str, tuple[OutFormat, Callable[[Path], None]]] = {
    "coco": (OutFormat.COCO, correct_coco),
    "labelme": (OutFormat.LABELME, correct_labelme),
    "cvat": (OutFormat.CVAT, correct_cvat),
    # CVAT drops attributes that its labels do not declare: then pixels must tell.
    "cvat that drops attributes": (
        OutFormat.CVAT,
        lambda folder: correct_cvat(folder, with_attributes=False),
    ),
    "label-studio": (OutFormat.LABEL_STUDIO, correct_label_studio),
}


@pytest.mark.parametrize("tool", list(TOOLS))
def test_what_people_did_is_told(tmp_path: Path, proposals: Path, tool: str) -> None:
    kind, correct = TOOLS[tool]
    run_export(ExportRun(dataset=proposals, out=tmp_path / "export", format=kind))
    correct(tmp_path / "export")
    run = ImportRun(
        annotations=tmp_path / "export", out=tmp_path / "corrected", proposals=proposals
    )
    summary = run_import(run)

    assert verify(tmp_path / "corrected") == []
    assert summary.report is not None
    seconds = 12.5 if tool == "label-studio" else None
    said = summary.report["proposals"]
    assert said["images"] == {
        "exported": 2,
        "returned": 2,
        "not_returned": 0,
        "timed": int(seconds is not None),
    }
    counts = {key: said[key] for key in ("shown", "kept", "edited", "deleted", "added")}
    assert counts == {"shown": 6, "kept": 4, "edited": 1, "deleted": 1, "added": 1}
    assert said["edited_mean_iou"] == 0.75
    assert (said["precision"], said["precision_unchanged"]) == (0.8333, 0.6667)
    assert (said["share_not_drawn"], said["seconds"]) == (0.8333, seconds)
    # Three masks of the first picture in 12.5 s, one of them drawn.
    assert said["seconds_per_mask"] == (None if seconds is None else 4.167)
    assert said["seconds_per_added_mask"] == seconds
    assert said["by_image"][0] == {
        "image": "a.png",
        "kept": [1000003],
        "edited": [{"id": 1000001, "iou": 0.75}],
        "deleted": [1000002],
        "added": 1,
        "seconds": seconds,
    }
    dataset = Dataset(tmp_path / "corrected")
    assert dataset.manifest.stage is Stage.SEMI_AUTOMATIC
    edited, kept, added = dataset[0].annotations
    assert [mask.stage for mask in (edited, kept, added)] == [Stage.SEMI_AUTOMATIC] * 3
    assert [mask.category for mask in (edited, kept, added)] == [None] * 3
    assert kept == replace(
        PROPOSALS[2],
        annotator="1" if tool == "label-studio" else None,
        attributes={
            "detector": "abc",
            "proposal": {"id": 1000003, "iou": 1.0, "verdict": "kept"},
        },
    )
    # The model's scores are not of the mask that a person made of it.
    assert (edited.predicted_iou, edited.stability_score, edited.box_score) == (None, None, None)
    assert edited.attributes["proposal"] == {"id": 1000001, "iou": 0.75, "verdict": "edited"}
    assert decode(edited.segmentation).tolist() == SHRUNK.tolist()
    assert added.attributes["proposal"] == {"verdict": "added"}
    assert decode(added.segmentation).tolist() == NEW.tolist()


def test_images_that_did_not_come_back_are_not_deleted(tmp_path: Path, proposals: Path) -> None:
    run_export(ExportRun(dataset=proposals, out=tmp_path / "ls", format=OutFormat.LABEL_STUDIO))
    tasks = json.loads((tmp_path / "ls" / "tasks.json").read_bytes())
    tasks[1]["annotations"] = [{"result": tasks[1]["predictions"][0]["result"]}]
    (tmp_path / "ls" / "tasks.json").write_text(json.dumps(tasks))
    run = ImportRun(annotations=tmp_path / "ls", out=tmp_path / "corrected", proposals=proposals)
    report = run_import(run).report

    assert report is not None
    assert report["proposals"]["images"]["not_returned"] == 1
    assert report["images"]["notes"]["unanswered"]["examples"] == ["a.png"]
    assert (report["proposals"]["shown"], report["proposals"]["deleted"]) == (3, 0)


def test_proposals_that_nobody_has_opened_are_no_answers(tmp_path: Path, proposals: Path) -> None:
    run_export(ExportRun(dataset=proposals, out=tmp_path / "ls", format=OutFormat.LABEL_STUDIO))
    run = ImportRun(annotations=tmp_path / "ls", out=tmp_path / "corrected", proposals=proposals)

    with pytest.raises(UsageError, match="or none was answered"):
        run_import(run)


def exported_coco(tmp_path: Path, proposals: Path) -> Path:
    run_export(ExportRun(dataset=proposals, out=tmp_path / "coco", format=OutFormat.COCO))
    return tmp_path / "coco"


def test_images_that_were_never_exported_are_left_out(tmp_path: Path, proposals: Path) -> None:
    coco = exported_coco(tmp_path, proposals)
    save_picture(coco / "images" / "strange.png")
    content = json.loads((coco / "instances.json").read_bytes())
    image = {"id": 7, "file_name": "strange.png", "width": 8, "height": 6}
    mask = {**content["annotations"][0], "id": 70, "image_id": 7}
    content["images"].append(image)
    content["annotations"].append(mask)
    (coco / "instances.json").write_text(json.dumps(content))
    run = ImportRun(annotations=coco, out=tmp_path / "corrected", proposals=proposals)
    report = run_import(run).report

    assert report is not None
    assert report["images"]["notes"]["never-exported"] == {"count": 1, "examples": ["strange.png"]}
    assert report["masks"]["dropped"]["never-exported"]["count"] == 1
    assert report["images"]["imported"] == 2


def test_a_file_of_other_images_is_refused(tmp_path: Path, proposals: Path) -> None:
    for name in ("x.png", "y.png"):
        save_picture(tmp_path / "others" / name)
    others = write_proposals(tmp_path / "other-proposals", tmp_path / "others")
    coco = exported_coco(tmp_path, others)
    run = ImportRun(annotations=coco, out=tmp_path / "corrected", proposals=proposals)
    with pytest.raises(UsageError, match=r"none of the 2 corrected images \('x.png' among them\)"):
        run_import(run)
    assert not (tmp_path / "corrected").exists()


@pytest.mark.parametrize(
    ("size_wh", "reason"), [((16, 12), "other-size"), ((8, 6), "other-picture")]
)
def test_another_picture_of_the_same_name_is_refused(
    tmp_path: Path, proposals: Path, size_wh: tuple[int, int], reason: str
) -> None:
    coco = exported_coco(tmp_path, proposals)
    other = save_picture(tmp_path / "other.png", size_wh)
    (coco / "images" / "a.png").write_bytes(other.read_bytes())
    run = ImportRun(annotations=coco, out=tmp_path / "corrected", proposals=proposals)
    summary = run_import(run)

    assert summary.run.num_failed == {reason: 1}
    (failure,) = summary.run.failures
    assert failure.source == "a.png"
    assert "give the exported pictures with --images" in failure.error
    assert summary.report is not None
    # Nothing was decided about its proposals.
    assert summary.report["proposals"]["deleted"] == 0


def test_corrections_made_on_another_size_are_refused(tmp_path: Path, proposals: Path) -> None:
    coco = exported_coco(tmp_path, proposals)
    content = json.loads((coco / "instances.json").read_bytes())
    content["images"][0] |= {"width": 80, "height": 60}
    (coco / "instances.json").write_text(json.dumps(content))
    run = ImportRun(annotations=coco, out=tmp_path / "corrected", proposals=proposals)
    summary = run_import(run)

    assert summary.run.num_failed == {"other-size": 1}
    assert "its corrections were made on another size" in summary.run.failures[0].error


def image(*masks: MaskRecord) -> ImageRecord:
    return ImageRecord(
        image_id=1, file_name="a", source="a", width=8, height=6, sha256="", annotations=masks
    )


def test_ids_decide_before_pixels_do() -> None:
    # The person shrank the first and copied it, id and all, over the second.
    first = replace(proposal(SHRUNK), attributes={"proposal_id": 1000001})
    copied = replace(proposal(RIGHT), attributes={"proposal_id": 1000001})
    ids = [1000001, 1000002, 1000003]
    assert match_masks(PROPOSALS, ids, [copied, first]) == [Match(1, 1.0), Match(0, 0.75)]


def test_masks_that_do_not_meet_are_not_the_same() -> None:
    assert match_masks(PROPOSALS, [1, 2, 3], [proposal(NEW)]) == [None]
    assert match_masks((), [], [proposal(NEW)]) == [None]
    assert match_masks(PROPOSALS, [1, 2, 3], []) == []


def test_masks_of_people_stay_theirs() -> None:
    human = proposal(LEFT, stage=Stage.MANUAL, predicted_iou=None)
    decided = decide(image(human, PROPOSALS[1]), [proposal(LEFT), proposal(RIGHT)])
    assert [mask.stage for mask in decided.masks] == [Stage.MANUAL, Stage.SEMI_AUTOMATIC]
    assert (decided.kept, decided.edited, decided.deleted, decided.added) == ((1000002,), (), (), 0)
    gone = decide(image(human, PROPOSALS[1]), [])
    assert gone.deleted == (1000002,)


def test_names_that_mean_another_image_elsewhere(tmp_path: Path) -> None:
    # Of a tar, the first picture by name is the second by number: each dataset numbers anew.
    for number in (2, 10):
        save_picture(tmp_path / "pictures" / f"sa_{number}.png")
    save_picture(tmp_path / "pictures" / "sa_1.png")
    proposals = write_proposals(tmp_path / "proposals", tmp_path / "pictures")
    found = Dataset(proposals)
    assert [r.source for r in found] == ["sa_1.png", "sa_10.png", "sa_2.png"]
    assert [r.file_name for r in found] == ["sa_1.png", "sa_2.png", "sa_3.png"]
    images = [{"id": r.image_id, "file_name": r.file_name, "width": 8, "height": 6} for r in found]
    masks = [
        {"id": r.image_id, "image_id": r.image_id, "segmentation": encode(LEFT).to_coco()}
        for r in found
    ]
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps({"images": images, "annotations": masks, "categories": []}))
    run = ImportRun(
        annotations=answers,
        images=f"{proposals}/sa_*.tar",
        out=tmp_path / "corrected",
        proposals=proposals,
    )
    summary = run_import(run)
    assert summary.run.num_failed == {}
    assert summary.report is not None
    assert summary.report["proposals"]["kept"] == 3
    by_image = summary.report["proposals"]["by_image"]
    assert [each["kept"] for each in by_image] == [[1000001], [2000001], [3000001]]
