"""The simulated annotator: what is taken over, deleted and drawn."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.errors import UsageError
from sa_engine.pipelines.loop.annotator import Answered, answer, write_answers
from tests.pipelines.stages.test_corrections import (
    LEFT,
    NEW,
    RIGHT,
    SHRUNK,
    proposal,
    write_proposals,
)
from tests.support.drawing import grid, save_picture

NEARLY_RIGHT = grid("......##", "......##", "......##", "......##", "......#.", "........")


def image(*masks: MaskRecord, width: int = 8) -> ImageRecord:
    return ImageRecord(
        image_id=1, file_name="a", source="a", width=width, height=6, sha256="", annotations=masks
    )


def drawn(*pixels: object) -> ImageRecord:
    return image(*(proposal(each, stage=Stage.MANUAL) for each in pixels))


def test_what_fits_is_taken_over_and_the_rest_drawn() -> None:
    # IoU with LEFT 9/12, with RIGHT 8/9; NEW meets nothing.
    proposed = image(proposal(SHRUNK), proposal(NEARLY_RIGHT), proposal(NEW))
    truth = drawn(LEFT, RIGHT)
    assert answer(proposed, truth, accept_iou=0.8) == Answered(taken=(1,), drawn=(0,))
    assert answer(proposed, truth, accept_iou=0.75) == Answered(taken=(0, 1), drawn=())
    assert answer(image(), truth, accept_iou=0.8) == Answered(taken=(), drawn=(0, 1))
    assert answer(proposed, drawn(), accept_iou=0.8) == Answered(taken=(), drawn=())


def test_an_object_takes_one_proposal_the_best() -> None:
    proposed = image(proposal(NEARLY_RIGHT), proposal(RIGHT))
    assert answer(proposed, drawn(RIGHT), accept_iou=0.8) == Answered(taken=(1,), drawn=())


def test_crowds_are_no_objects() -> None:
    crowd = replace(proposal(LEFT), iscrowd=True)
    assert answer(image(proposal(LEFT)), image(crowd), accept_iou=0.5) == Answered((), ())


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"proposals on \(8, 6\), held-back masks on \(9, 6\)"):
        answer(image(), image(width=9), accept_iou=0.8)


def test_pictures_are_told_by_content(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "pictures" / name)
    proposals = write_proposals(tmp_path / "proposals", tmp_path / "pictures")
    # The same picture under another name, and one that nothing was proposed for.
    (tmp_path / "known").mkdir()
    data = (tmp_path / "pictures" / "b.png").read_bytes()
    (tmp_path / "known" / "renamed.png").write_bytes(data)
    save_picture(tmp_path / "known" / "z.png")
    truth = write_proposals(tmp_path / "truth", tmp_path / "known", (proposal(RIGHT),))
    write_answers(proposals, truth, tmp_path / "answers.json", accept_iou=0.8)
    content = json.loads((tmp_path / "answers.json").read_bytes())
    assert [each["file_name"] for each in content["images"]] == ["sa_2.png"]
    (mask,) = content["annotations"]
    assert (mask["proposal_id"], mask["annotator"]) == (2000002, "simulated")

    save_picture(tmp_path / "others" / "o.png")
    others = write_proposals(tmp_path / "other-truth", tmp_path / "others")
    with pytest.raises(UsageError, match="holds none of the 2 images that proposals were made"):
        write_answers(proposals, others, tmp_path / "no.json", accept_iou=0.8)
    assert not (tmp_path / "no.json").exists()
