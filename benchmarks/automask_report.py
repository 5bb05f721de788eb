"""The page that the everything-mode benchmark writes, and how masks of two engines agree."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sa_engine.automask.parity import compare, summarise
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks.rle import Rle, area, bbox_xywh

STEPS = ("decode", "encode", "prompt decode", "post-process")


@dataclass
class Row:
    """One engine on one setting: everything that was measured."""

    engine: str
    variant: str
    setting: str
    answers: list[dict[str, Any]] = field(default_factory=list)
    work: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """Median over images and repeats."""
        return statistics.median(a["seconds"] for a in self.answers)

    def step(self, name: str) -> float:
        """Median seconds of a step."""
        return statistics.median(a["steps"].get(name, float("nan")) for a in self.answers)


def records_of(answer: dict[str, Any]) -> list[MaskRecord]:
    """A worker's masks as records."""
    records = []
    for mask in answer["masks"]:
        rle = Rle(tuple(mask["segmentation"]["size"]), mask["segmentation"]["counts"])
        records.append(
            MaskRecord(
                segmentation=rle,
                bbox_xywh=bbox_xywh(rle),
                area=area(rle),
                stage=Stage.AUTOMATIC,
                predicted_iou=mask["predicted_iou"],
                stability_score=mask["stability_score"],
                crop_box_xywh=(0, 0, rle.size_hw[1], rle.size_hw[0]),
            )
        )
    return records


def agreement(row: Row, witness: Row) -> dict[str, float | int]:
    """How the masks of one engine agree with the reference's over all images."""
    strict, loose, ordered = [], [], 0
    for mine, other in zip(row.answers, witness.answers, strict=True):
        ours, theirs = records_of(mine), records_of(other)
        exact = compare(theirs, ours, match_iou=0.999)
        strict.append(exact)
        loose.append(compare(theirs, ours, match_iou=0.9))
        ordered += all(m.first == m.second for m in exact.matches)
    return {
        "reference_masks": summarise(strict).masks_first,
        "same_at_0.999": summarise(strict).matched,
        "same_at_0.9": summarise(loose).matched,
        "share_at_0.9": summarise(loose).matched_share,
        "images_in_same_order": ordered,
    }


def report(results: dict[str, Any], rows: Sequence[Row]) -> str:
    """The committed page."""
    about = results["machine"]
    lines = [
        "# Everything mode, measured",
        "",
        f"{about['cpu']}, {about['cores']} cores ({about['threads']} threads), "
        f"{about['memory_gib']} GiB; GPU: {about['gpu'] or 'none'}. "
        f"Python {about['python']}, PyTorch {about['torch']}. Commit {about['commit']}, "
        f"{about['date']}. Load average before and after: {about['load_before']:.1f}, "
        f"{results['load_after']:.1f}. Best fp32 matrix product: "
        f"{about['matrix_gflops_fp32']} GFLOP/s.",
        "",
        f"Model: {results['model']}. Images: {', '.join(results['images'])}; "
        f"{results['repeats']} run(s) each, engines in turn on each image. Medians in seconds. "
        "Peak memory is the process's, with weights and "
        "libraries.",
        "",
        "| model | setting | engine | total | decode | encode | prompt decode | post-process "
        "| masks | peak GiB | times the reference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        witness = _witness(row, rows)
        ratio = f"{witness.seconds / row.seconds:.1f}" if witness else "reference not run"
        masks = statistics.median(len(a["masks"]) for a in row.answers)
        peak = max(a["peak_gib"] for a in row.answers)
        steps = " | ".join(f"{row.step(name):.2f}" for name in STEPS).replace("nan", "-")
        lines.append(
            f"| {row.variant} | {row.setting} | {row.engine} | {row.seconds:.1f} | {steps} "
            f"| {masks:.0f} | {peak:.2f} | {ratio} |"
        )
    if not any("bf16" in row.engine for row in rows):
        lines += ["", "bf16: not measured; this machine has no bf16 arithmetic."]
    lines += ["", "## The same masks", ""]
    lines += [
        "| model | setting | engine | reference's masks | same (IoU >= 0.999) | same (IoU >= 0.9) "
        "| images in the same order |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        witness = _witness(row, rows)
        if witness is None or witness is row:
            continue
        a = agreement(row, witness)
        lines.append(
            f"| {row.variant} | {row.setting} | {row.engine} | {a['reference_masks']} "
            f"| {a['same_at_0.999']} | {a['same_at_0.9']} ({100 * a['share_at_0.9']:.1f} %) "
            f"| {a['images_in_same_order']} of {len(row.answers)} |"
        )
    lines += ["", "## Where this engine's time goes", ""]
    fine = [row for row in rows if "fine_steps" in row.answers[0]]
    names = list(fine[0].answers[0]["fine_steps"])
    lines += [f"| model | setting | engine | {' | '.join(names)} |"]
    lines += ["| --- " * (3 + len(names)) + "|"]
    for row in fine:
        medians = [statistics.median(a["fine_steps"][n] for a in row.answers) for n in names]
        figures = " | ".join(f"{m:.2f}" for m in medians)
        lines.append(f"| {row.variant} | {row.setting} | {row.engine} | {figures} |")
    lines += _roofline(rows, about["matrix_gflops_fp32"])
    if results["memory"]:
        lines += ["", "## Peak memory by image size (vit_t, sa-1b preset)", ""]
        for m in results["memory"]:
            h, w = m["size_hw"]
            lines.append(f"* {w}x{h}: {m['peak_gib']:.2f} GiB, {m['seconds']:.1f} s")
    if results["growth"]:
        g = results["growth"]
        lines += [
            "",
            "## Memory over many images",
            "",
            f"{g['images']} images in one process: {g['after_tenth_gib']:.3f} GiB resident after "
            f"the tenth, {g['last_gib']:.3f} GiB after the last.",
        ]
    lines += ["", "## GPU", ""]
    if about["gpu"] is None:
        lines += [
            "Not measured: no GPU at hand. Ready to run: "
            "`python -m benchmarks.automask --device cuda --variants vit_t vit_h --images ...`."
        ]
    else:
        lines += [f"Measured on {about['gpu']} with `--device {results['device']}`; rows above."]
    return "\n".join(lines) + "\n"


def _roofline(rows: Sequence[Row], best_gflops: float) -> list[str]:
    """Operations per step against the machine's best matrix product."""
    lines = [
        "",
        "## How far from the machine's limit",
        "",
        "Operations of matrix products, convolutions and attention on the first image, over the "
        "seconds of that image, against the best fp32 matrix product. Measuring masks at full "
        "resolution is bound by memory, not by operations: there the pixels computed count.",
        "",
        "| model | setting | step | GFLOP | s | GFLOP/s | of the best |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    notes = []
    for row in rows:
        if row.work is None:
            continue
        for step, gflop in row.work["gflop"].items():
            seconds = row.answers[0]["fine_steps"][step]
            if gflop < 0.01 or not seconds:
                continue
            lines.append(
                f"| {row.variant} | {row.setting} | {step} | {gflop:.0f} | {seconds:.2f} "
                f"| {gflop / seconds:.0f} | {100 * gflop / seconds / best_gflops:.0f} % |"
            )
        share = row.work["pixels_computed"] / max(row.work["pixels_at_full_size"], 1)
        notes.append(
            f"* {row.variant}, {row.setting}: {row.work['masks_measured']} masks measured, "
            f"{100 * share:.1f} % of their pixels computed."
        )
    return [*lines, "", *notes]


def _witness(row: Row, rows: Sequence[Row]) -> Row | None:
    return next(
        (
            r
            for r in rows
            if r.engine.startswith("segment-anything")
            and (r.variant, r.setting) == (row.variant, row.setting)
        ),
        None,
    )
