"""Exports read with the tools that they are for: the IoU of each mask that the tool sees with ours.

    python benchmarks/peers.py DATASET --out benchmarks/results/peers.md \\
        --python light=VENV/bin/python --python yolo=... --python datumaro=... --python studio=...

Each tool's library is in an environment of its own (what to install there stands in PEERS); without
one its rows are left out. With `studio`, Label Studio's server is started on a free port of this
machine: exports of people's masks and of proposals are imported there, and what it gives back is
imported here.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers_server import rounds_of_label_studio
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.formats.writers.file_names import Names
from sa_engine.masks.rle import Mask, decode
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export

READERS = Path(__file__).with_name("peers_readers.py")

PEERS = {
    "light": "labelme supervision lvis pycocotools",
    "yolo": "ultralytics",
    "datumaro": "datumaro",
    "studio": "label-studio",
}
"""Environments, and what is installed in each."""

READ_BY: tuple[tuple[OutFormat, str, str, str], ...] = (
    (OutFormat.COCO, "pycocotools", "light", "pycocotools"),
    (OutFormat.COCO, "lvis", "light", "lvis"),
    (OutFormat.COCO, "supervision-coco", "light", "supervision"),
    (OutFormat.YOLO_SEG, "ultralytics", "yolo", "ultralytics"),
    (OutFormat.YOLO_SEG, "supervision-yolo", "light", "supervision"),
    (OutFormat.LABELME, "labelme", "light", "labelme"),
    (OutFormat.CVAT, "datumaro-cvat", "datumaro", "datumaro"),
    (OutFormat.LABEL_STUDIO, "label-studio-sdk", "studio", "label-studio-sdk"),
    (OutFormat.SA_1B, "sa-1b", "light", "pycocotools"),
    (OutFormat.MASKS, "pillow", "light", "pillow"),
)
"""Formats, the readers of `peers_readers.py`, their environments and packages."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one tool sees of one export.

    ious: of each mask of the dataset, its best IoU with a mask that the tool sees; 0 for none.
    num_seen: masks that the tool sees. losses: what the export's summary names.
    """

    format: OutFormat
    tool: str
    ious: np.ndarray
    num_seen: int
    losses: list[tuple[str, int]]

    def line(self) -> str:
        """A row of the table."""
        exact = int((self.ious == 1).sum())
        named = ", ".join(f"{count} {reason}" for reason, count in self.losses) or "none"
        return (
            f"| {self.format.value} | {self.tool} | {self.num_seen} of {self.ious.size} "
            f"| {self.ious.mean():.4f} | {self.ious.min():.4f} | {exact} | {named} |"
        )


def masks_by_name(dataset: Dataset) -> dict[str, list[Mask]]:
    """The dataset's masks by the names that exports give to images, without their suffixes."""
    names = Names()
    return {
        names.of(record).rpartition(".")[0]: [decode(m.segmentation) for m in record.annotations]
        for record in dataset.images(status=ImageStatus.OK)
    }


def compare(expected: dict[str, list[Mask]], path: Path) -> tuple[np.ndarray, int]:
    """Best IoU of each expected mask, and how many masks a reader has seen."""
    seen = np.load(path)
    ious: list[float] = []
    num_seen = 0
    for name, masks in expected.items():
        count = sum(member.startswith(f"{name}|") for member in seen.files)
        num_seen += count
        size_hw = tuple(seen[name].tolist()) if name in seen.files else (0, 0)
        found = [
            np.unpackbits(seen[f"{name}|{n}"], count=size_hw[0] * size_hw[1]).reshape(size_hw) > 0
            for n in range(count)
        ]
        ious += [max((iou(mask, each) for each in found), default=0.0) for mask in masks]
    return np.array(ious), num_seen


def iou(first: Mask, second: Mask) -> float:
    """IoU of two masks; 0 if they are of two sizes."""
    if first.shape != second.shape:
        return 0.0
    return float((first & second).sum() / max(1, (first | second).sum()))


def version(python: str, package: str) -> str:
    """The version of a package in an environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def read_all(
    dataset: Dataset, pythons: dict[str, str], work: Path, formats: list[str]
) -> list[Row]:
    """Export once a format, and read with every tool that is there. formats: none for all."""
    expected = masks_by_name(dataset)
    rows = []
    losses: dict[OutFormat, list[tuple[str, int]]] = {}
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "YOLO_CONFIG_DIR": str(work)}
    for kind, reader, where, package in READ_BY:
        if where not in pythons or (formats and kind.value not in formats):
            continue
        out = work / kind.value
        if kind not in losses:
            run = ExportRun(dataset=dataset.folder.url, out=out, format=kind)
            losses[kind] = run_export(run).losses.items()
        seen = work / f"{reader}.npz"
        command = [pythons[where], str(READERS), reader, str(out), str(seen)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{reader} cannot read {kind.value}:\n{done.stderr[-2000:]}")
        ious, num_seen = compare(expected, seen)
        tool = f"{package} {version(pythons[where], package)}"
        rows.append(Row(kind, tool, ious, num_seen, losses[kind]))
        print(rows[-1].line(), flush=True)
    return rows


def commit() -> str:
    """The commit that is measured."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", help="a dataset of the engine")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--format", action="append", default=[], help="this format alone")
    options = parser.parse_args()
    pythons = dict(each.split("=", 1) for each in options.python)
    dataset = Dataset(options.dataset)
    with tempfile.TemporaryDirectory() as work:
        rows = read_all(dataset, pythons, Path(work), options.format)
        server = []
        if "studio" in pythons and not options.format:
            server = rounds_of_label_studio(dataset, pythons["studio"], Path(work))
    num_masks = sum(len(record.annotations) for record in dataset)
    text = [
        "# Exports as the tools themselves read them",
        "",
        f"{len(dataset)} images, {num_masks} masks. Each export is read with the library of the",
        "tool that it is for; IoU is of each mask with the best one that the tool sees. Losses are",
        "what the export's own summary names.",
        "",
        f"Commit {commit()}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, Python",
        f"{platform.python_version()}, {platform.machine()}; made by `benchmarks/peers.py`.",
        "",
        "| format | read by | masks seen | mean IoU | least IoU | exact | losses named |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
        *(row.line() for row in rows),
        "",
        *(["## Label Studio's server", "", *server] if server else []),
    ]
    options.out.write_text("\n".join(text) + "\n")
    print(json.dumps({"rows": len(rows), "server": server}, indent=1))


if __name__ == "__main__":
    main()
