"""A small loop's inputs: scenes as people's masks, a random model, and a config of three stages."""

from pathlib import Path

import torch

from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import save_checkpoint
from sa_engine.model.variants import build_sam
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from tests.support.scene_datasets import write_scenes

TRAIN = """
image_size = 32
steps = 2
batch_images = 1
masks_per_image = 2
rounds = 1
synthetic = 0
calibrate = 0
"""

CONFIG = f"""
out = "out"

[start]
checkpoint = "start.safetensors"

[evaluate]
data = ["held"]
max_masks = 1

[[round]]
name = "stage1"
min_gain = -1

[[round.gather]]
name = "drawn"
kind = "import"
annotations = "coco/instances.json"

[round.train]
pred_iou_thresh = 0
stability_score_thresh = 0
{TRAIN}
[round.detector]
steps = 1
batch_images = 1
views = 1

[[round]]
name = "stage2"
min_gain = 1

[[round.gather]]
name = "proposed"
kind = "semi"
images = "more"
box_score_thresh = 0
box_fit_thresh = 0
max_boxes = 20

[round.gather.corrected]
by = "masks"
masks = "more"
accept_iou = 0.01

[round.train]
{TRAIN}
[[round]]
name = "stage3"
min_gain = -1

[[round.gather]]
name = "found"
kind = "auto"
images = "more"
points_per_side = 3
limit = 1

[round.mix]
manual = 10

[round.train]
{TRAIN}
"""


def write_inputs(folder: Path) -> Path:
    """Everything that CONFIG names, below a folder; gives the config's path."""
    write_scenes(folder / "human", range(3))
    run_export(ExportRun(dataset=folder / "human", out=folder / "coco", format=OutFormat.COCO))
    write_scenes(folder / "more", range(50, 52))
    write_scenes(folder / "held", range(100, 102))
    torch.manual_seed(0)
    card = ModelCard(
        name="random",
        variant="vit_t",
        image_size=32,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
    )
    save_checkpoint(build_sam("vit_t", image_size=32), folder / "start.safetensors", card)
    path = folder / "loop.toml"
    path.write_text(CONFIG)
    return path
