"""The page that the everything-mode benchmark writes, and how masks of two engines agree."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks import automask_parts
from benchmarks.automask_parts import PARTS
from sa_engine.automask.parity import compare, summarise
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks.rle import Rle, area, bbox_xywh

STEPS = ("decode", "encode", "prompt decode", "post-process")
NOT_MEASURED = "not measured"

Result = Mapping[str, Any]


def records_of(answer: Result) -> list[MaskRecord]:
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


def agreement(answers: Sequence[Result], witness: Sequence[Result]) -> dict[str, float | int]:
    """How the masks of one engine agree with another's over all images."""
    strict, loose, ordered = [], [], 0
    for mine, other in zip(answers, witness, strict=True):
        ours, theirs = records_of(mine), records_of(other)
        exact = compare(theirs, ours, match_iou=0.999)
        strict.append(exact)
        loose.append(compare(theirs, ours, match_iou=0.9))
        ordered += all(m.first == m.second for m in exact.matches)
    return {
        "reference_masks": summarise(strict).masks_first,
        "masks": summarise(strict).masks_second,
        "same_at_0.999": summarise(strict).matched,
        "same_at_0.9": summarise(loose).matched,
        "share_at_0.9": summarise(loose).matched_share,
        "images_in_same_order": ordered,
        "images": len(strict),
    }


def report(parts: Mapping[str, Result]) -> str:
    """The committed page, from the results of the parts that there are."""
    lines = ["# Everything mode, measured", ""]
    lines += ["| measured side by side | goal | measured | part |", "| --- | --- | --- | --- |"]
    for what, goal, name, say in GOALS:
        found = say(parts[name]) if name in parts else NOT_MEASURED
        lines.append(f"| {what} | {goal} | {found} | `{name}` |")
    missing = [part for part in PARTS if part.name not in parts]
    hardware = {"bf16": "bf16 arithmetic in the processor", "cuda": "a CUDA GPU"}
    lines += ["", *_wrapped(automask_parts.__doc__ or ""), ""]
    for part in missing:
        needs = f"; it needs {hardware[part.needs]}" if part.needs else ""
        lines.append(
            f"* Not measured{needs}: {part.title}. Ready to run: "
            f"`python -m benchmarks.automask --part {part.name} --images PHOTO PHOTO`."
        )
    for part in PARTS:
        if part.name in parts:
            lines += _section(parts[part.name])
    return "\n".join(lines).rstrip() + "\n"


def ratio(part: Result) -> float:
    """How many times as long the last engine takes as the first."""
    return _seconds(part["rows"][-1]) / _seconds(part["rows"][0])


def _say_ratio(part: Result) -> str:
    a = part["rows"][0]["agreement"]
    return (
        f"{ratio(part):.1f} × ({_seconds(part['rows'][-1]):.0f} s to "
        f"{_seconds(part['rows'][0]):.1f} s); {a['same_at_0.999']} of {a['reference_masks']} masks "
        f"the same at IoU 0.999, {a['same_at_0.9']} at 0.9; same order on "
        f"{a['images_in_same_order']} of {a['images']}"
    )


def _say_memory(part: Result) -> str:
    return " / ".join(f"{row['peak_gib']:.2f} GiB" for row in part["rows"])


def _say_flat(part: Result) -> str:
    resident = part["resident_gib"]
    tenth = min(9, len(resident) - 1)
    return (
        f"{resident[tenth]:.3f} GiB after the tenth, {resident[-1]:.3f} GiB after image "
        f"{len(resident)}, {max(resident[tenth:]):.3f} GiB at most"
    )


def _say_overhead(part: Result) -> str:
    said = [f"{100 * row['overhead']:.1f} % at {row['image_size']} px" for row in part["rows"]]
    return ", ".join(said)


def _say_gpu(part: Result) -> str:
    ours = part["rows"][0]
    encode = statistics.median(a["fine_steps"]["encode"] for a in ours["answers"])
    rate = part["work"]["gflop"]["encode"] / encode / 1e3
    best = part["device"]["matrix_tflops_bf16"]
    return (
        f"{_say_ratio(part)}; {1000 * _seconds(ours):.0f} ms an image; encoder at "
        f"{100 * rate / best:.0f} % of the best bf16 product"
    )


GOALS: tuple[tuple[str, str, str, Callable[[Result], str]], ...] = (
    (
        "two-core CPU, `vit_t`, default grid, fp32, same masks as the reference",
        "≥ 8 ×",
        "default",
        _say_ratio,
    ),
    (
        "the same, bf16, ≥ 98 % of the reference's masks at IoU ≥ 0.9",
        "≥ 20 ×",
        "default-bf16",
        _say_ratio,
    ),
    ("the same, fp32, with the `sa-1b` preset", "≥ 15 ×", "sa-1b", _say_ratio),
    ("`lite2` as shipped, 512 px, default grid", "≤ 3 s", "lite2-default", _say_ratio),
    ("the same, `sa-1b` preset", "", "lite2-sa-1b", _say_ratio),
    ("`vit_t` as it was shipped, default grid", "", "shipped-default", _say_ratio),
    ("the same, `sa-1b` preset", "", "shipped-sa-1b", _say_ratio),
    ("ViT-B, default grid, fp32", "", "vit_b", _say_ratio),
    ("`transformers`' pipeline, `vit_t`, default grid", "", "transformers", _say_ratio),
    (
        "peak memory, `sa-1b` preset, 1500×2250 / 6000×8000, `vit_t`",
        "≤ 1.5 / ≤ 3 GiB",
        "memory",
        _say_memory,
    ),
    ("200 images in a row: growth after the tenth", "none", "flat", _say_flat),
    ("`sa-engine auto` over the bare generator", "≤ 5 %", "overhead", _say_overhead),
    (
        "one data-centre GPU: ViT-H, default grid, bf16",
        "≥ 10 ×, ≤ 60 ms, encoder ≥ 50 %",
        "gpu-vit_h",
        _say_gpu,
    ),
    ("the same, `vit_t`", "≥ 40 images/s", "gpu-vit_t", _say_gpu),
)


def _section(part: Result) -> list[str]:
    about = part["machine"]
    lines = [
        "",
        f"## {part['title']}",
        "",
        f"{about['cpu']}, {about['cores']} cores ({about['threads']} threads), "
        f"{about['memory_gib']} GiB; GPU: {about['gpu'] or 'none'}. Python {about['python']}, "
        f"PyTorch {about['torch']}. Commit {about['commit']}, {about['date']}. Load average before "
        f"and after: {about['load_before']}, {about['load_after']}. Best fp32 matrix product "
        f"{about['matrix_gflops_fp32']} GFLOP/s, best copy {about['copy_gb_s']} GB/s. "
        f"Weights: {part['model']}. Images: {', '.join(part['images'])}.",
        "",
    ]
    return [*lines, *_BODIES[part["does"]](part)]


def _side_by_side(part: Result) -> Iterator[str]:
    yield "Medians in seconds; peak memory is the process's, with weights and libraries."
    yield ""
    yield (
        "| engine | total | decode | encode | prompt decode | post-process | masks | peak GiB "
        "| as long as the first |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    first = _seconds(part["rows"][0])
    for row in part["rows"]:
        steps = " | ".join(_step(row, name) for name in STEPS)
        masks = statistics.median(a["masks"] for a in row["answers"])
        peak = max(a["peak_gib"] for a in row["answers"])
        yield (
            f"| {row['engine']} | {_seconds(row):.1f} | {steps} | {masks:.0f} | {peak:.2f} "
            f"| {_seconds(row) / first:.1f} × |"
        )
    yield ""
    for row in part["rows"]:
        a = row["agreement"]
        if a is not None:
            yield (
                f"* {row['engine']}: {a['masks']} masks, {part['rows'][-1]['engine']} "
                f"{a['reference_masks']}; {a['same_at_0.999']} the same at IoU ≥ 0.999, "
                f"{a['same_at_0.9']} ({100 * a['share_at_0.9']:.1f} %) at IoU ≥ 0.9; in the same "
                f"order on {a['images_in_same_order']} of {a['images']} images."
            )
    yield from _roofline(part)


def _roofline(part: Result) -> Iterator[str]:
    """Operations and bytes per step against what the machine can do."""
    work, about = part["work"], part["machine"]
    answer = part["rows"][0]["answers"][0]
    yield ""
    yield (
        "How far from the machine's limit, first image: operations of matrix products, "
        "convolutions and attention beside the best product; bytes that operators take and give "
        "beside the best copy (what a cache serves can exceed it)."
    )
    yield ""
    yield "| step | s | GFLOP | GFLOP/s | of the best product | GB | GB/s | of the best copy |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for step, gflop in work["gflop"].items():
        seconds, gbyte = answer["fine_steps"][step], work["gbyte"][step]
        if seconds < 0.005 * answer["seconds"]:
            continue
        share = gflop / seconds / about["matrix_gflops_fp32"]
        yield (
            f"| {step} | {seconds:.2f} | {gflop:.0f} | {gflop / seconds:.0f} | {100 * share:.0f} % "
            f"| {gbyte:.1f} | {gbyte / seconds:.1f} "
            f"| {100 * gbyte / seconds / about['copy_gb_s']:.0f} % |"
        )
    share = work["pixels_computed"] / max(work["pixels_at_full_size"], 1)
    yield ""
    yield (
        f"{work['masks_measured']} masks above the predicted IoU were measured; "
        f"{100 * share:.1f} % of their pixels had to be computed."
    )


def _memory(part: Result) -> Iterator[str]:
    for row in part["rows"]:
        h, w = row["size_hw"]
        yield f"* {w}x{h}: {row['peak_gib']:.2f} GiB, {row['seconds']:.1f} s, {row['masks']} masks"


def _flat(part: Result) -> Iterator[str]:
    h, w = part["size_hw"]
    yield f"{w}x{h}, resident memory of the process: {_say_flat(part)}."


def _overhead(part: Result) -> Iterator[str]:
    yield "Seconds for all images, the model loaded before; medians of runs in turn."
    yield ""
    yield "| model input | images | bare generator | whole run | overhead |"
    yield "| --- | --- | --- | --- | --- |"
    for row in part["rows"]:
        bare, whole = (statistics.median(row[k]) for k in ("bare_seconds", "whole_seconds"))
        yield (
            f"| {row['image_size']} px | {row['images']} | {bare:.2f} | {whole:.2f} "
            f"| {100 * row['overhead']:.1f} % |"
        )


def _profile(part: Result) -> Iterator[str]:
    for row in part["rows"]:
        h, w = row["size_hw"]
        total = row["profiled_seconds"]
        yield (
            f"Model input {row['image_size']} px, image {w}x{h}, one thread: "
            f"{row['seconds']:.1f} s, {total:.1f} s with the profiler. Time in each operator by "
            "itself:"
        )
        yield ""
        yield "| operator | calls | s | share |"
        yield "| --- | --- | --- | --- |"
        outside = {
            "name": "outside operators: Python, NumPy, the profiler",
            "calls": "",
            "seconds": row["outside_operators"],
        }
        for each in [*row["operators"], outside]:
            if each["seconds"] > 0.005 * total:
                share = f"{100 * each['seconds'] / total:.1f} %"
                yield f"| {each['name']} | {each['calls']} | {each['seconds']:.2f} | {share} |"
        yield ""


_BODIES: dict[str, Callable[[Result], Iterator[str]]] = {
    "side_by_side": _side_by_side,
    "memory": _memory,
    "flat": _flat,
    "overhead": _overhead,
    "profile": _profile,
}


def _seconds(row: Result) -> float:
    return float(statistics.median(answer["seconds"] for answer in row["answers"]))


def _step(row: Result, name: str) -> str:
    if any(name not in answer["steps"] for answer in row["answers"]):
        return "-"
    return f"{statistics.median(answer['steps'][name] for answer in row['answers']):.2f}"


def _wrapped(text: str) -> list[str]:
    return text.strip().splitlines()
