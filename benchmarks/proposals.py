"""What an annotator would take over of the proposals of stage 2, on pictures that nothing saw.

    python -m benchmarks.proposals DATASET [DATASET ...] [--checkpoint FILE --detector FILE]

An annotator is simulated by the masks of each dataset, as in the loop: a proposal is taken over if
its IoU with a human mask is at least a threshold, one proposal a mask, the best pairs first;
everything else is deleted, and masks that no proposal fits have to be drawn. Sets that outline only
some things count right proposals of others as wrong. The result is written beside this script, to
`results/proposals.json` and `.md`.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.provenance import commit, processor, today
from sa_engine.automask.proposal_config import ProposalConfig, resolve_proposals
from sa_engine.automask.proposer import Proposer
from sa_engine.dataset.reader import Dataset
from sa_engine.detection.file import detector_standing_on, load_detector, read_detector_card
from sa_engine.errors import SaEngineError
from sa_engine.evaluation.points import chosen_images
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.weights import bundled_model
from sa_engine.pipelines.loop.annotator import answer

RESULTS = Path(__file__).resolve().parent / "results"
ACCEPT_IOUS = (0.5, 0.65, 0.8, 0.9)


def measure(dataset: Dataset, name: str, proposer: Proposer, num_images: int) -> dict[str, Any]:
    """Shares of proposals that are taken over, and of masks that need not be drawn."""
    proposed = known = 0
    taken = dict.fromkeys(ACCEPT_IOUS, 0)
    images = chosen_images(dataset, name, num_images)
    for record in tqdm(images, desc=name, unit="image"):
        masks = tuple(proposer.propose(dataset.read_rgb(record)))
        proposed += len(masks)
        known += sum(1 for mask in record.annotations if not mask.iscrowd and mask.area)
        for least in ACCEPT_IOUS:
            answered = answer(replace(record, annotations=masks), record, accept_iou=least)
            taken[least] += len(answered.taken)
    return {
        "images": len(images),
        "proposals": proposed,
        "human_masks": known,
        "taken_over": {str(least): count for least, count in taken.items()},
    }


def markdown(found: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Proposals that an annotator would take over",
        "",
        f"`python -m benchmarks.proposals`, {found['date']}, commit {found['commit']}, model "
        f"{found['model']} ({found['image_size']} px) and its detector, "
        + ", ".join(f"{name} {value:g}" for name, value in found["thresholds"].items())
        + ". Share of the proposals that are taken over / share of the human masks that need not "
        "be drawn, by the least IoU with a human mask at which a proposal is taken over:",
        "",
        "| set | images | proposals an image | human masks an image | "
        + " | ".join(f"IoU {least}" for least in ACCEPT_IOUS)
        + " |",
        "| --- | ---: | ---: | ---: |" + " --- |" * len(ACCEPT_IOUS),
    ]
    for name, each in found["sets"].items():
        images, proposals, known = (each[key] for key in ("images", "proposals", "human_masks"))
        cells = [
            f"{count / max(1, proposals):.0%} / {count / max(1, known):.0%}"
            for count in each["taken_over"].values()
        ]
        lines.append(
            f"| {name} | {images} | {proposals / images:.1f} | {known / images:.1f} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure one model with its detector."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--checkpoint", type=Path, default=bundled_model())
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--max-images", type=int, default=30, help="of each dataset")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    try:
        datasets = {path.name: Dataset(path) for path in options.datasets}
        sam, card = load_checkpoint(options.checkpoint), read_card(options.checkpoint)
        detector = options.detector or detector_standing_on(sam)
        if detector is None:
            parser.error("no detector comes with the model: give one with --detector")
        found_by = load_detector(detector, sam)
    except SaEngineError as error:
        parser.error(str(error))
    config: ProposalConfig = resolve_proposals(
        recommended={
            "box_score_thresh": read_detector_card(detector).box_score_thresh,
            "pred_iou_thresh": card.pred_iou_thresh,
            "stability_score_thresh": card.stability_score_thresh,
        },
        options={},
    )
    proposer = Proposer(sam, found_by, config)
    thresholds = ("box_score_thresh", "pred_iou_thresh", "stability_score_thresh")
    found = {
        "date": today(),
        "commit": commit(),
        "machine": processor(),
        "model": card.name,
        "image_size": card.image_size,
        "thresholds": {name: getattr(config, name) for name in thresholds},
        "sets": {
            name: measure(dataset, name, proposer, options.max_images)
            for name, dataset in datasets.items()
        },
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "proposals.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / "proposals.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
