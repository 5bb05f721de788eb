"""The data engine's loop on a domain that its model has never seen: what does each stage bring?

    python -m benchmarks.retrain_loop --data DATASETS --start start.safetensors

DATASETS holds train/<set> and dev/<set>, datasets of masks that people drew (`sa-engine import`,
`sa-engine split`): two parts of one domain. --start names weights that were trained on neither;
without it the bundled weights are taken, which have seen the training images, and the result says
so. Annotators are simulated by masks that are held back: stage 1 gets the human masks of one part
of the training images; in stage 2 detector and model propose on another part, and the annotator
takes over what fits a human mask (IoU of at least 0.8), deletes the rest and adds what is missing;
in stage 3 a model makes masks on the photographs that are left, without any human. Each stage
trains on from the model promoted so far, by the recipe `finetune` that users get, for the same
number of steps; controls tell what its masks bring from what its steps bring. Measured on dev/,
which nothing is trained on:

    stage1           human masks of part 1
    stage2           + part 2, proposed and corrected
    stage3           + automatic masks, human masks drawn ten times as often
    stage3-even      the same without that
    automatic-alone  automatic masks only, from the start, to compare with stage1
    stage1-longer    part 1 only, for as many steps as stage2 has had
    stage2-longer    parts 1 and 2 only, for as many steps as stage3 has had
    stage1-longest   part 1 only, for as many steps as stage3 has had

The steps of each training follow from --minutes unless --steps says them; the same command
continues a run. Written beside this script: results/retrain_loop.json, .md and .svg.
"""

import argparse
import hashlib
import json
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.provenance import commit, processor, today
from benchmarks.retrain_loop_report import ACCEPT_IOU, QUALITY, ROUNDS, markdown, write_results
from sa_engine.automask.config import resolve
from sa_engine.automask.generator import MaskGenerator
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus, Stage
from sa_engine.dataset.shards.writer import ShardWriter, clear_scratch, pending_shards
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import InterruptedRun, SaEngineError
from sa_engine.evaluation.points import chosen_images
from sa_engine.masks.rle import iou_matrix
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.weights import bundled_model
from sa_engine.pipelines.loop.bench import Watcher
from sa_engine.pipelines.loop.config import (
    PROMOTED,
    START,
    DetectorPlan,
    Gather,
    HeldOut,
    Kind,
    LoopConfig,
    Round,
    Simulated,
    TrainPlan,
)
from sa_engine.pipelines.loop.parts import GatheredSet
from sa_engine.pipelines.loop.rounds import look_at_loop, run_loop
from sa_engine.pipelines.loop.state import LoopState
from sa_engine.pipelines.loop.steps import Step, replace_file
from sa_engine.pipelines.train import TrainOptions, retrain
from sa_engine.version import __version__

HERE = Path(__file__).resolve().parent
DOMAIN = ("carparts",)
RECIPE = "finetune"
TRAINING_SHARE = 0.55
"""Of the budget, for the trainings of the model; the rest is for all else."""


class Budget:
    """CPU seconds spent, over all runs of the benchmark."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._path = folder / "cpu.json"
        self._limit = seconds
        self._before = json.loads(self._path.read_text()) if self._path.is_file() else 0.0

    @property
    def spent(self) -> float:
        """Of this process and its children, and of those before."""
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        used = [resource.getrusage(kind) for kind in kinds]
        return float(self._before) + sum(u.ru_utime + u.ru_stime for u in used)

    def save(self) -> None:
        """Note what was spent."""
        replace_file(self._path, json.dumps(self.spent).encode())

    def check(self) -> None:
        """Raise InterruptedRun if a quarter more than the budget is gone."""
        self.save()
        if self.spent > 1.25 * self._limit:
            raise InterruptedRun(f"the budget is spent: {self.spent / 60:.0f} CPU minutes")


class Spender(Watcher):
    """Prints each step, and stops before a step once the budget is spent."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def begin(self, label: str) -> None:  # noqa: ARG002 - every step alike
        self._budget.check()

    def done(self, label: str, step: Step, *, made: bool) -> None:
        if made:
            print(f"{self._budget.spent / 60:6.1f} min  {label}: {step.seconds:.0f} s", flush=True)

    def say(self, text: str) -> None:
        print(f"{self._budget.spent / 60:6.1f} min  {text}", flush=True)


def write_part(out: Path, members: Sequence[tuple[str, Dataset, int]]) -> Path:
    """A dataset of chosen images of several, continued if it was begun.

    members: (set's name, dataset, position) of each image.
    """
    sources = [
        Source(f"{name}/{dataset[position].source}", f"{name}/{dataset[position].source}")
        for name, dataset, position in members
    ]
    manifest = open_output(out, Manifest(stage=Stage.MANUAL, num_images=len(members)), sources)
    for index in pending_shards(out, manifest):
        with ShardWriter(out, index, manifest=manifest) as writer:
            while (image_id := writer.next_image_id) is not None:
                name, dataset, position = members[image_id - 1]
                record = dataset[position]
                ending = record.file_name.rpartition(".")[2]
                moved = replace(
                    record,
                    image_id=image_id,
                    file_name=f"sa_{image_id}.{ending}",
                    source=f"{name}/{record.source}",
                )
                writer.add(moved, dataset.read_image_bytes(record))
            writer.finish()
    clear_scratch(out, manifest)
    return out


def divide(options: argparse.Namespace) -> tuple[tuple[Path, Path], Path]:
    """The human masks of stage 1, the held-back ones of stage 2, and the photographs of stage 3.

    Three parts of the same sets, the last as files without masks. Images are drawn by a hash of
    their content, as evenly from the sets as these allow.
    """
    wanted = (options.stage1_images, options.stage2_images)
    parts: list[list[tuple[str, Dataset, int]]] = [[], []]
    pools = {}
    for name in options.sets:
        dataset = Dataset(options.data / "train" / name)
        keys = [
            (hashlib.sha256(f"part {record.sha256}".encode()).hexdigest(), position)
            for position, record in enumerate(dataset.images())
            if record.status is ImageStatus.OK and any(not m.iscrowd for m in record.annotations)
        ]
        pools[name] = (dataset, [position for _, position in sorted(keys)])
    for part, count in zip(parts, wanted, strict=True):
        while len(part) < count and any(pool for _, pool in pools.values()):
            for name, (dataset, pool) in pools.items():
                if pool and len(part) < count:
                    part.append((name, dataset, pool.pop(0)))
    folders = [options.out / "parts" / name for name in ("part1", "part2", "rest")]
    folders[2].mkdir(parents=True, exist_ok=True)
    for name, (dataset, pool) in pools.items():
        for position in pool:
            record = dataset[position]
            to = folders[2] / f"{name}-{record.file_name}"
            if not to.exists():
                replace_file(to, dataset.read_image_bytes(record))
    return (write_part(folders[0], parts[0]), write_part(folders[1], parts[1])), folders[2]


def plan_steps(options: argparse.Namespace, part1: Path, start: Path) -> int:
    """Steps of each training: what the budget allows at the speed of a short trial, made once."""
    if options.steps is not None:
        return int(options.steps)
    path = options.out / "steps.json"
    if path.is_file():
        return int(json.loads(path.read_text()))
    used = []
    for steps in (2, 8):
        with tempfile.TemporaryDirectory() as folder:
            changes = training_changes(options, steps)
            trial = TrainOptions(
                data=[part1],
                out=Path(folder) / "trial.safetensors",
                init=start,
                recipe=RECIPE,
                changes=changes,
                device=options.device,
            )
            before = time.process_time()
            retrain(trial)
            used.append(time.process_time() - before)
    each = max(1e-3, (used[1] - used[0]) / 6)
    budget = options.minutes * 60 * TRAINING_SHARE / len(ROUNDS)
    steps = max(20, int(budget / each))
    replace_file(path, json.dumps(steps).encode())
    print(f"{each:.2f} CPU s a step: {steps} steps for each training", flush=True)
    return steps


def training_changes(options: argparse.Namespace, steps: int) -> dict[str, dict[str, Any]]:
    """Options of every training."""
    optim = {} if options.lr is None else {"lr": options.lr}
    return {"train": {"steps": steps, "batch_images": options.batch}, "optim": optim}


def loop_config(
    options: argparse.Namespace,
    *,
    parts: tuple[Path, Path],
    unlabelled: Path,
    start: Path,
    steps: int,
) -> LoopConfig:
    """The loop and its controls: rounds after the third are measured and never promoted."""
    changes = training_changes(options, steps)
    oftener = {"manual": 10.0, "semi-automatic": 10.0}

    def train(init: str, *sets: str) -> TrainPlan:
        return TrainPlan(data=sets, init=init, recipe=RECIPE, changes=changes, calibrate=24)

    detector = DetectorPlan(changes={"train": {"steps": options.detector_steps, "batch_images": 8}})
    proposed = Gather(
        name="corrected",
        kind=Kind.SEMI,
        images=str(parts[1]),
        by=Simulated(masks=parts[1], accept_iou=ACCEPT_IOU),
    )
    automatic = Gather(
        name="found",
        kind=Kind.AUTO,
        images=str(unlabelled),
        limit=options.stage3_images,
        options={"points_per_side": options.points_per_side},
    )
    drawn = Gather(name="drawn", kind=Kind.DATASET, data=parts[0])
    people, everything = ("drawn", "corrected"), ("drawn", "corrected", "found")
    return LoopConfig(
        name="retrain-loop",
        out=options.out / "loop",
        checkpoint=start,
        device=options.device,
        held_out=HeldOut(
            sets=tuple(
                Gather(name=name, kind=Kind.DATASET, data=options.data / "dev" / name)
                for name in options.dev
            ),
            max_images=options.dev_images,
            max_masks=options.dev_masks,
        ),
        rounds=(
            # The measure of what follows, however it compares with the start.
            Round(
                name="stage1",
                gather=(drawn,),
                train=train(START, "drawn"),
                detector=detector,
                min_gain=-1,
            ),
            Round(
                name="stage2",
                gather=(proposed,),
                train=train(PROMOTED, *people),
                detector=detector,
            ),
            Round(
                name="stage3", gather=(automatic,), train=train(PROMOTED, *everything), mix=oftener
            ),
            Round(name="stage3-even", train=train("stage2", *everything), min_gain=1),
            Round(name="automatic-alone", train=train(START, "found"), min_gain=1),
            Round(name="stage1-longer", train=train("stage1", "drawn"), min_gain=1),
            Round(name="stage2-longer", train=train("stage2", *people), min_gain=1),
            Round(name="stage1-longest", train=train("stage1-longer", "drawn"), min_gain=1),
        ),
    )


def proposal_quality(state: LoopState) -> dict[str, Any] | None:
    """How well taken-over proposals fit the human masks that they stand for."""
    gathered = _set(state, "corrected")
    if gathered is None:
        return None
    truth = {record.sha256: record for record in Dataset(_held_back(state)).images()}
    ious: list[float] = []
    by_set: Counter[str] = Counter()
    for record in Dataset(gathered.path).images(status=ImageStatus.OK):
        kept = [
            mask.segmentation
            for mask in record.annotations
            if mask.attributes.get("proposal", {}).get("verdict") == "kept"
        ]
        known = truth.get(record.sha256)
        if known is None or not kept:
            continue
        matrix = iou_matrix(kept, [m.segmentation for m in known.annotations])
        ious += matrix.max(axis=1).tolist()
        by_set[known.source.partition("/")[0]] += len(kept)
    return {"mean_iou": round(float(np.mean(ious)), 4) if ious else None, "kept": dict(by_set)}


def mask_quality(state: LoopState, options: argparse.Namespace) -> dict[str, Any] | None:
    """Masks that the model of stage 3 makes on dev images, held against the human ones.

    For each automatic mask the best IoU with a human mask: a set whose human masks leave things
    out counts right masks as wrong, so sets are told apart.
    """
    gathered = _set(state, "found")
    if gathered is None:
        return None
    digest = gathered.model or ""
    path = options.out / f"quality-{digest[:16]}.json"
    if path.is_file():
        return dict(json.loads(path.read_text()))
    made_by = next(
        (r.model for r in state.rounds if r.model and r.model.sha256 == digest), state.started_from
    )
    card = read_card(made_by.path)
    config = resolve(
        options={"points_per_side": options.points_per_side},
        recommended={
            "pred_iou_thresh": card.pred_iou_thresh,
            "stability_score_thresh": card.stability_score_thresh,
        },
    )
    generator = MaskGenerator(load_checkpoint(made_by.path), config, device="cpu")
    found: dict[str, Any] = {}
    for name in options.dev:
        dataset = Dataset(options.data / "dev" / name)
        best: list[float] = []
        images = chosen_images(dataset, name, options.dev_images)
        for record in images:
            masks = [mask.segmentation for mask in generator.generate(dataset.read_rgb(record))]
            known = [mask.segmentation for mask in record.annotations if not mask.iscrowd]
            if masks:
                best += iou_matrix(masks, known).max(axis=1).tolist()
        shares = {f"share_over_{t}": round(float(np.mean(np.array(best) > t)), 4) for t in QUALITY}
        found[name] = {
            "masks_per_image": round(len(best) / len(images), 2),
            "mean_iou": round(float(np.mean(best)), 4) if best else None,
            **(shares if best else {}),
        }
    replace_file(path, json.dumps(found).encode())
    return found


def results(
    state: LoopState, options: argparse.Namespace, budget: Budget, *, start_saw_photographs: bool
) -> dict[str, Any]:
    """Everything that was found."""
    rounds = []
    card = read_card(state.started_from.path)
    for each in state.rounds:
        measured = None if each.measured is None else asdict(each.measured)
        rounds.append(
            {
                "name": each.name,
                "progress": each.progress.value,
                "measured": measured,
                "promoted": each.promoted,
                "detector_ar_100": each.recall,
                "sets": [_set_json(gathered) for gathered in each.sets],
                "seconds": each.seconds,
            }
        )
    return {
        "commit": commit(),
        "date": today(),
        "engine_version": __version__,
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
        "options": {
            name: value.name if isinstance(value, Path) else value
            for name, value in vars(options).items()
            if name not in ("out", "data", "results")
        },
        "start_saw_photographs": start_saw_photographs,
        "start_card": {"name": card.name, "variant": card.variant, "image_size": card.image_size}
        | {"data": list(card.data)},
        "cpu_minutes": round(budget.spent / 60, 1),
        "start": None if state.start is None else asdict(state.start),
        "rounds": rounds,
        "accepted_proposals": proposal_quality(state),
        "automatic_masks_on_dev": mask_quality(state, options),
    }


def _set_json(gathered: GatheredSet) -> dict[str, Any]:
    return {
        "name": gathered.name,
        "images": gathered.images,
        "masks": gathered.num_masks,
        "masks_per_image": round(gathered.num_masks / gathered.images, 2),
        "by_stage": dict(gathered.masks),
        "proposals": None if gathered.proposals is None else dict(gathered.proposals),
    }


def _set(state: LoopState, name: str) -> GatheredSet | None:
    return next((s for each in state.rounds for s in each.sets if s.name == name), None)


def _held_back(state: LoopState) -> Path:
    found = [
        part.by.masks
        for each in state.config.rounds
        for part in each.gather
        if isinstance(part.by, Simulated)
    ]
    return found[0]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="train/ and dev/ as datasets")
    parser.add_argument("--out", type=Path, default=Path("out/retrain-loop"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--minutes", type=float, default=120, help="CPU minutes in all")
    parser.add_argument("--start", type=Path, help="weights that have seen none of the sets")
    parser.add_argument("--sets", nargs="+", default=list(DOMAIN))
    parser.add_argument("--dev", nargs="+", default=list(DOMAIN))
    parser.add_argument("--stage1-images", type=int, default=40)
    parser.add_argument("--stage2-images", type=int, default=160)
    parser.add_argument("--stage3-images", type=int, default=120)
    parser.add_argument("--dev-images", type=int, default=60, help="of each dev set")
    parser.add_argument("--dev-masks", type=int, default=6, help="of each dev image")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, help="learning rate, instead of the recipe's")
    parser.add_argument("--steps", type=int, help="of each training, instead of the budget's")
    parser.add_argument("--detector-steps", type=int, default=600)
    parser.add_argument("--points-per-side", type=int, default=16, help="of stage 3's grid")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    """Run the loop, as far as the budget goes, and write what was found."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    budget = Budget(options.out, options.minutes * 60)
    start = options.start or bundled_model()
    parts, unlabelled = divide(options)
    options.steps = plan_steps(options, parts[0], start)
    config = loop_config(
        options, parts=parts, unlabelled=unlabelled, start=start, steps=options.steps
    )
    stopped = None
    try:
        state = run_loop(config, watcher=Spender(budget))
    except SaEngineError as stop:
        # Whatever was found until then is a result, too, and so is why there is no more.
        stopped = str(stop)
        state = look_at_loop(config)
    budget.save()
    found = results(state, options, budget, start_saw_photographs=options.start is None)
    found["stopped"] = stopped
    write_results(found, options.results)
    print(markdown(found))


if __name__ == "__main__":
    main()
