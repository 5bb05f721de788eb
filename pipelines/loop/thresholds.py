"""Which masks a newly trained model may make by itself: thresholds found on people's masks.

Every mask of a grid is made on a few pictures that the model was trained on and held against what
people drew there; nothing that is held out is looked at. As the masks are to train the next model,
a wrong one is worse than a missing one: the pair of thresholds with the best F½ is taken, which
counts precision twice as much as recall.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.dataset.reader import Dataset
from sa_engine.evaluation.proposals import proposal_config
from sa_engine.evaluation.thresholds import JudgedImage, Operating, judge, play_through, recommend
from sa_engine.model.device import DTYPES, choose_device, choose_precision
from sa_engine.model.sam import Sam

POINTS_PER_SIDE = 16
MATCH_IOUS = (0.7, 0.5)
"""From this IoU with a person's mask on a mask is right; the second is for models that are not as
good as the first yet."""


def find_thresholds(
    sam: Sam, sets: Sequence[Path], *, images: int, device: str, precision: str
) -> Operating | None:
    """The pair of thresholds that suits a model best; None if no mask of the grid is right.

    sets: datasets of people's masks. images: in all, evenly from the sets, at least one of each.
    """
    place = choose_device(device)
    dtype = choose_precision(precision, place)
    config = proposal_config(GeneratorConfig(points_per_side=POINTS_PER_SIDE))
    generator = MaskGenerator(
        sam,
        replace(config, box_nms_thresh=1.0),
        device=str(place),
        precision=next(name for name, each in DTYPES.items() if each is dtype),
    )
    judged: list[JudgedImage] = []
    for path in sets:
        count = max(1, images // len(sets))
        judged += judge(Dataset(path), path.name, generate=generator.generate, max_images=count)
    for match_iou in MATCH_IOUS:
        best = recommend(play_through(judged, match_iou=match_iou), min_precision=0.0)
        if best.precision > 0:
            return best
    return None
