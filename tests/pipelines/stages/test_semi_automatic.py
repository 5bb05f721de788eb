"""Stage 2 as a run: proposals with their provenance, beside existing masks, out to tools."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sa_engine.automask.proposal_config import ProposalConfig
from sa_engine.dataset.images.reading import read_image
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.dataset.verify import verify
from sa_engine.detection.card import DetectorCard
from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.encoder import encoder_digest
from sa_engine.detection.file import (
    build_detector,
    bundled_detector,
    net_options,
    save_detector,
)
from sa_engine.errors import CheckpointError, DatasetError, UsageError
from sa_engine.masks import rle
from sa_engine.model.bundled import DEFAULT_MODEL
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint, save_checkpoint
from sa_engine.model.variants import build_sam
from sa_engine.model.weights import bundled_model
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from sa_engine.pipelines.run.one_image import Reading, load
from sa_engine.pipelines.run.worker import Annotated
from sa_engine.pipelines.stages.existing_masks import ExistingMasks
from sa_engine.pipelines.stages.semi_automatic import (
    SemiAutomaticAnnotator,
    SemiAutomaticRun,
    run_semi_automatic,
)
from sa_engine.pipelines.viewer import ViewerRun, write_viewer

NET = DetectorConfig(channels=8, head_layers=1)
OPTIONS: dict[str, Any] = {"max_boxes": 8, "box_fit_thresh": 0.0, "mask_nms_thresh": 0.9}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `vit_t` with random weights whose card lets all masks through."""
    torch.manual_seed(0)
    card = ModelCard(
        name="random",
        variant="vit_t",
        image_size=64,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
    )
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    save_checkpoint(build_sam("vit_t", image_size=64), path, card)
    return path


@pytest.fixture(scope="module")
def detector(model: Path) -> Path:
    """A detector of random weights for that model, whose card lets all boxes through."""
    sam = load_checkpoint(model)
    torch.manual_seed(1)
    card = DetectorCard(
        name="guesses",
        model="random",
        variant="vit_t",
        image_size=64,
        encoder_sha256=encoder_digest(sam),
        net=net_options(NET),
        box_score_thresh=0.0,
    )
    path = model.with_name("detector.safetensors")
    save_detector(build_detector(NET, sam), path, card)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, one of which lies on its side by its EXIF data."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(3):
        draw = np.random.default_rng(number)
        pixels = draw.integers(0, 80, (48, 64, 3))
        pixels[10:30, 10 + 8 * number : 34 + 8 * number] += 150
        exif = Image.Exif()
        if number == 2:
            exif[0x0112] = 6
        picture = Image.fromarray(pixels.astype(np.uint8))
        picture.save(folder / f"photo {number}.png", exif=exif)
    return folder


def run(photographs: Path, out: Path, model: Path, detector: Path) -> SemiAutomaticRun:
    return SemiAutomaticRun(
        images=str(photographs),
        out=out,
        checkpoint=model,
        detector=detector,
        proposal_options=OPTIONS,
        precision="fp32",
        device="cpu",
        images_per_shard=2,
    )


@pytest.fixture(scope="module")
def proposed(
    photographs: Path, model: Path, detector: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A dataset of proposals."""
    out = tmp_path_factory.mktemp("out") / "proposals"
    summary = run_semi_automatic(run(photographs, out, model, detector))
    assert (summary.num_images, summary.num_failed, summary.num_new) == (3, {}, 3)
    assert summary.num_masks > 3
    return out


def test_proposals_are_a_sound_dataset_with_their_provenance(
    proposed: Path, photographs: Path, model: Path, detector: Path
):
    assert list(verify(proposed)) == []
    dataset = Dataset(proposed)
    assert dataset.manifest.stage is Stage.SEMI_AUTOMATIC
    assert dataset.manifest.model is not None and dataset.manifest.model.name == "random"
    assert dataset.manifest.options["max-boxes"] == 8
    assert dataset.manifest.options["existing"] is None
    records = list(dataset)
    assert [record.source for record in records] == ["photo 0.png", "photo 1.png", "photo 2.png"]
    assert (records[2].width, records[2].height) == (48, 64)
    for record in records:
        assert record.annotations
        for mask in record.annotations:
            assert mask.stage is Stage.SEMI_AUTOMATIC
            assert mask.prompt_box_xywh is not None and mask.box_score is not None
            assert mask.attributes == {
                "model": "random",
                "model_sha256": dataset.manifest.model.sha256,
                "detector": "guesses",
                "detector_sha256": dataset.manifest.options["detector"],
            }


def test_other_options_on_the_same_output_are_named(
    proposed: Path, photographs: Path, model: Path, detector: Path
):
    other = replace(
        run(photographs, proposed, model, detector), proposal_options={**OPTIONS, "max_boxes": 9}
    )
    with pytest.raises(UsageError, match="--max-boxes 8, this run has 9"):
        run_semi_automatic(other)


def test_masks_that_are_there_are_not_proposed_again(
    proposed: Path, photographs: Path, model: Path, detector: Path
):
    def propose(existing: Path | None) -> list[int]:
        """Proposals of each picture, as a worker makes them."""
        annotate = SemiAutomaticAnnotator(
            checkpoint=model,
            detector=detector,
            existing=existing,
            proposals=ProposalConfig(
                **OPTIONS, box_score_thresh=0, pred_iou_thresh=0, stability_score_thresh=0
            ),
            device="cpu",
            precision="fp32",
            provenance={},
        ).open(0)
        counts = []
        for source in list_sources(photographs):
            found = annotate(source, read_image(Path(source.uri).read_bytes()))
            counts.append(len(found.masks if isinstance(found, Annotated) else found))
        return counts

    assert propose(None) == [len(record.annotations) for record in Dataset(proposed)]
    assert propose(proposed) == [0, 0, 0]


def test_existing_masks_are_found_by_content_then_by_name(
    proposed: Path, photographs: Path, tmp_path: Path
):
    existing = ExistingMasks(Dataset(proposed))
    counts = [len(record.annotations) for record in Dataset(proposed)]
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number in range(3):
        data = (photographs / f"photo {number}.png").read_bytes()
        (renamed / f"other {number}.png").write_bytes(data)
    for source, count in zip(list_sources(renamed), counts, strict=True):
        image = load(source, Reading()).image
        assert image is not None
        assert len(existing.of(source, image)) == count
    # Smaller, with the same name: its masks come along; of another shape: another picture.
    small, cut = tmp_path / "small", tmp_path / "cut"
    for folder, size in ((small, (32, 24)), (cut, (30, 24))):
        folder.mkdir()
        with Image.open(photographs / "photo 0.png") as picture:
            picture.resize(size).save(folder / "photo 0.png")
    (source,) = list_sources(small)
    resized = existing.of(source, read_image((small / "photo 0.png").read_bytes()))
    assert 0 < len(resized) <= counts[0]
    assert {mask.size_hw for mask in resized} == {(24, 32)}
    original = Dataset(proposed)[0].annotations[0].area
    assert rle.area(resized[0]) == pytest.approx(original / 4, rel=0.3, abs=4)
    (source,) = list_sources(cut)
    assert existing.of(source, read_image((cut / "photo 0.png").read_bytes())) == []


def test_pictures_show_box_and_scores(proposed: Path, tmp_path: Path):
    write_viewer(ViewerRun(datasets=(proposed,), out=tmp_path / "pictures"))
    script = (tmp_path / "pictures" / "images" / "0" / "1.js").read_text("utf-8")
    _, sets = json.loads(f"[{script[len('dataset.masks(') : -len(');n')]}]")
    mask = Dataset(proposed)[0].annotations[0]
    assert sets[0][0]["stage"] == "semi-automatic"
    assert sets[0][0]["boxScore"] == mask.box_score
    assert sets[0][0]["prompt"] == list(mask.prompt_box_xywh or ())


@pytest.mark.parametrize(
    ("format", "file"),
    [
        (OutFormat.CVAT, "annotations.xml"),
        (OutFormat.LABEL_STUDIO, "*.json"),
        (OutFormat.LABELME, "**/*.json"),
        (OutFormat.COCO, "*.json"),
    ],
)
def test_annotation_tools_get_proposals_prefilled(
    proposed: Path, tmp_path: Path, format: OutFormat, file: str
):
    out = tmp_path / "export"
    summary = run_export(ExportRun(dataset=proposed, out=out, format=format))
    total = sum(len(record.annotations) for record in Dataset(proposed))
    assert (summary.num_images, summary.num_masks) == (3, total)
    texts = [path.read_text("utf-8") for path in sorted(out.glob(file))]
    marks = {
        OutFormat.CVAT: "<mask ",
        OutFormat.LABEL_STUDIO: '"brushlabels"',
        OutFormat.LABELME: '"shape_type"',
        OutFormat.COCO: '"segmentation"',
    }
    assert sum(text.count(marks[format]) for text in texts) >= total


def test_a_detector_of_another_encoder_leaves_nothing_behind(
    photographs: Path, detector: Path, tmp_path: Path
):
    torch.manual_seed(5)
    other = tmp_path / "other.safetensors"
    save_checkpoint(
        build_sam("vit_t", image_size=64),
        other,
        ModelCard(name="other", variant="vit_t", image_size=64),
    )
    with pytest.raises(CheckpointError, match="belongs to another image encoder"):
        run_semi_automatic(run(photographs, tmp_path / "out", other, detector))
    assert not (tmp_path / "out").exists()


def test_the_bundled_detector_serves_a_model_with_the_bundled_encoder(
    photographs: Path, tmp_path: Path
):
    """As `train sam --freeze-encoder` makes one."""
    sam = load_checkpoint(bundled_model())
    torch.nn.init.zeros_(sam.mask_decoder.iou_token.weight)
    mine = tmp_path / "mine.safetensors"
    card = ModelCard(name="mine", variant=sam.variant, image_size=sam.image_size)
    save_checkpoint(sam, mine, card)
    run_semi_automatic(replace(run(photographs, tmp_path / "out", mine, mine), detector=None))
    provenance = Dataset(tmp_path / "out").manifest.options
    bundled = bundled_detector(DEFAULT_MODEL)
    assert bundled is not None
    assert provenance["detector"] == hashlib.sha256(bundled.read_bytes()).hexdigest()


def test_bad_input_is_refused_before_anything_is_written(
    photographs: Path, model: Path, detector: Path, tmp_path: Path
):
    good = run(photographs, tmp_path / "out", model, detector)
    with pytest.raises(UsageError, match="exclude each other"):
        run_semi_automatic(replace(good, model=DEFAULT_MODEL))
    with pytest.raises(UsageError, match=r"no detector comes with .*random\.safetensors"):
        run_semi_automatic(replace(good, detector=None))
    with pytest.raises(UsageError, match="is not a dataset"):
        run_semi_automatic(replace(good, existing=photographs))
    with pytest.raises(UsageError, match="max_boxes is 0"):
        run_semi_automatic(replace(good, proposal_options={"max_boxes": 0}))
    assert not (tmp_path / "out").exists()


def test_an_existing_dataset_that_is_not_finished_is_refused(
    photographs: Path, model: Path, detector: Path, tmp_path: Path
):
    sources = list_sources(photographs)
    manifest = Manifest(stage=Stage.MANUAL, num_images=len(sources))
    open_output(tmp_path / "begun", manifest, sources)
    begun = replace(
        run(photographs, tmp_path / "out", model, detector), existing=tmp_path / "begun"
    )
    with pytest.raises(DatasetError, match="incomplete"):
        run_semi_automatic(begun)
    assert not (tmp_path / "out").exists()
