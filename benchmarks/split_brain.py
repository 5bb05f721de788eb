"""A worker that was frozen, taken for dead and replaced, and goes on later, harms nothing.

    python -m benchmarks.split_brain [--only make retry ...] [--every 1] [--pairs 100] [--reads]

A worker works on a small dataset and stops itself (SIGSTOP, as a frozen virtual machine or a
stalled file server would) before its k-th operation on files, for every k. A worker of another
machine finds the claim silent, takes over and ends the work; then the first goes on. In the end
the dataset must be complete and free of problems under `verify`, whichever worker made which image
(the two write different scores, so that a mixture of files shows), and where both make the same,
byte for byte what one undisturbed worker makes.

make      a new dataset
retry     a complete one of which a failed image is tried again, and goes through
attempt   the same, and it fails again: only the stats are written anew
repair    a complete one with a damaged shard
pairs     of the scenes above, both workers stop somewhere and go on, the first before the second

Machines are told apart by the kernel's boot id; here each worker is given one of its own, and the
claims are dated back an hour while the first is frozen. Written: `results/split_brain.json`.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.provenance import commit, today
from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.dataset.shards import liveness
from sa_engine.dataset.sources.listing import Source, list_sources
from sa_engine.dataset.verify import verify
from sa_engine.masks.rle import area, bbox_xywh, encode
from sa_engine.pipelines.run.one_image import Annotate, Reading
from sa_engine.pipelines.run.start import run_here
from sa_engine.pipelines.run.workers import Workers

HERE = Path(__file__).resolve().parent

WRITES = (
    "copy_file_range ftruncate fsync link mkdir open pwrite remove rename replace rmdir truncate "
    "unlink utime write"
).split()
READS = "fstat listdir lstat pread scandir stat".split()
PATIENCE_S = 30.0
FIRST, SECOND = 0.9, 0.8
"""What the workers score, if they are to be told apart."""


@dataclass(frozen=True, slots=True)
class Bright:
    """Marks bright pixels with a score that tells who did it."""

    score: float

    def open(self, worker: int) -> Annotate:  # noqa: ARG002 - as every annotator
        """See `Annotator.open`."""

        def annotate(_source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            segmentation = encode(image.rgb_HW3[..., 0] > 127)
            height, width = image.size_hw
            return [
                MaskRecord(
                    segmentation=segmentation,
                    bbox_xywh=bbox_xywh(segmentation),
                    area=area(segmentation),
                    stage=Stage.AUTOMATIC,
                    predicted_iou=self.score,
                    stability_score=1.0,
                    crop_box_xywh=(0, 0, width, height),
                    point_coords_xy=((0.5, 0.5),),
                )
            ]

        return annotate


class Stops:
    """Counts the operations on files of this process, and stops it before one of them.

    at: the operation, from 1; 0 stops nowhere.
    """

    def __init__(self, at: int, root: Path, *, reads: bool) -> None:
        self.count, self._at, self._root = 0, at, os.fspath(root)
        self._lock = threading.Lock()
        for name in (*WRITES, *READS) if reads else WRITES:
            setattr(os, name, partial(self._before, name, getattr(os, name)))
        io.open = partial(self._before, "open file", io.open)

    def _before(self, name: str, real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        first: Any = args[0] if args else None
        if isinstance(first, int) or self._root in os.fsdecode(first or ""):
            with self._lock:
                self.count += 1
                if self.count == self._at:
                    where = first if isinstance(first, int) else Path(os.fsdecode(first)).name
                    (Path(self._root).parent / "stopped-at").write_text(f"{name} {where}")
                    os.kill(os.getpid(), signal.SIGSTOP)
        return real(*args, **more)


@dataclass(frozen=True, slots=True)
class Scene:
    """A folder that workers begin with, and what they do.

    photo, data: a photograph, and what it is in this scene.
    """

    before: Path
    workers: Workers
    photo: Path
    data: bytes

    def fork(self, out: Path, machine: str, score: float, stop_at: int, *, reads: bool) -> int:
        """A worker as a process of another machine; its pid. It writes what it counted."""
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            liveness._machine = lambda: machine
            stops = Stops(stop_at, out, reads=reads)
            run_here(LocalFolder(out), Bright(score), reading=Reading(), workers=self.workers)
            (out.parent / "count").write_text(str(stops.count))
            status = 0
        except BaseException:
            (out.parent / f"error-{machine}").write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def begin(self, out: Path) -> None:
        """Put everything as it is before the first worker."""
        for path in out.parent.glob("error-*"):
            path.unlink()
        self.photo.write_bytes(self.data)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self.before, out)

    def calm(self, out: Path, *, reads: bool) -> tuple[int, dict[str, Any]]:
        """Operations of an undisturbed worker, and what it makes."""
        self.begin(out)
        if not _ends(self.fork(out, "machine-1", FIRST, 0, reads=reads), PATIENCE_S):
            raise RuntimeError("the undisturbed worker does not end")
        return int((out.parent / "count").read_text()), content(out)

    def play(self, out: Path, stop_at: int, then: int, score: float, *, reads: bool) -> str | None:
        """The first worker stops, the second takes over; what is wrong in the end, or None.

        then: where the second stops, for the first to go on before it; 0 for nowhere.
        score: the second's.
        """
        self.begin(out)
        first = self.fork(out, "machine-1", FIRST, stop_at, reads=reads)
        if not _stopped(first):
            return None
        for path in (out / ".work").glob("*.lease.*"):
            os.utime(path, (time.time() - 3600,) * 2)
        second = self.fork(out, "machine-2", score, then, reads=reads)
        waiting = {"first": first}
        if _stopped(second):
            os.kill(first, signal.SIGCONT)
            time.sleep(0.5)
            os.kill(second, signal.SIGCONT)
            waiting["second"] = second
        else:
            os.kill(first, signal.SIGCONT)
        for name, pid in waiting.items():
            if not _ends(pid, PATIENCE_S):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return f"the {name} did not end"
        faults = [str(problem) for problem in verify(out)]
        for path in sorted(out.parent.glob("error-*")):
            faults.append(f"{path.name}: {path.read_text().strip().splitlines()[-1]}")
        return "; ".join(faults) or None


def _stopped(pid: int) -> bool:
    """Wait until a child stops or ends; whether it stopped."""
    return os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])


def _ends(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def content(out: Path) -> dict[str, Any]:
    """Every file of a dataset: its bytes, or of stats all but the seconds."""
    found: dict[str, Any] = {}
    for path in sorted(out.iterdir()):
        data = path.read_bytes() if path.is_file() else b""
        is_stats = path.name.endswith("_stats.json")
        found[path.name] = {**unseal(data, name=path.name), "seconds": 0} if is_stats else data
    return found


def scenes(room: Path) -> dict[str, Scene]:
    """The scenes; each folder is as it is before the first worker."""
    images = room / "images"
    images.mkdir()
    for number in range(3):
        pixels = np.zeros((16, 20, 3), dtype=np.uint8)
        pixels[2 : 4 + number, 3 : 6 + number] = 255
        Image.fromarray(pixels).save(images / f"{number}.png")
    photo = images / "1.png"
    whole = photo.read_bytes()
    photo.write_bytes(b"")
    sources = list_sources(images)
    manifest = Manifest(stage=Stage.AUTOMATIC, num_images=len(sources), images_per_shard=2)
    for name in ("new", "failed"):
        open_output(room / name, manifest, sources)
    run_here(LocalFolder(room / "failed"), Bright(FIRST), reading=Reading())
    shutil.copytree(room / "failed", room / "damaged")
    with (room / "damaged/sa_000000.tar").open("r+b") as file:
        file.write(b"x")
    again = Workers(retry_failed=True)
    return {
        "make": Scene(room / "new", Workers(), photo, b""),
        "retry": Scene(room / "failed", again, photo, whole),
        "attempt": Scene(room / "failed", again, photo, b""),
        "repair": Scene(room / "damaged", Workers(repair=True), photo, b""),
    }


def stops_of(
    scene: Scene, out: Path, every: int, scores: Sequence[float], *, reads: bool
) -> dict[str, Any]:
    """A stop before every n-th operation of a scene, with each score of the second worker."""
    count, calm = scene.calm(out, reads=reads)
    wrong: dict[str, str] = {}
    played = 0
    for at in range(1, count + 1, every):
        for score in scores:
            played += 1
            fault = scene.play(out, at, 0, score, reads=reads)
            if fault is None and score == FIRST and content(out) != calm:
                fault = "the bytes differ"
            if fault:
                where = (out.parent / "stopped-at").read_text()
                wrong[f"{at} ({where}), score {score}"] = fault
    return {"operations": count, "played": played, "num_wrong": len(wrong), "wrong": wrong}


def pairs_of(
    found: dict[str, Scene], out: Path, number: int, draw: random.Random, *, reads: bool
) -> dict[str, Any]:
    """Both workers stop somewhere, and the first goes on before the second."""
    counts = {name: scene.calm(out, reads=reads)[0] for name, scene in found.items()}
    wrong: dict[str, str] = {}
    for _ in range(number):
        name = draw.choice(list(found))
        at, then = (draw.randint(1, counts[name]) for _ in range(2))
        if fault := found[name].play(out, at, then, SECOND, reads=reads):
            wrong[f"{name} {at} {then}"] = fault
    return {"played": number, "num_wrong": len(wrong), "wrong": wrong}


def main(arguments: Sequence[str] | None = None) -> None:
    """Play every scene with a stop at every place, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", default=["make", "retry", "attempt", "repair"])
    parser.add_argument("--every", type=int, default=1, help="stop before every n-th operation")
    parser.add_argument("--scores", nargs="+", type=float, default=[SECOND, FIRST])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--reads", action="store_true", help="also stop before what only reads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {
        "what": "workers that were frozen anywhere, replaced, and went on",
        "commit": commit(),
        "date": today(),
        "reads": options.reads,
    }
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        found = {each: scene for each, scene in scenes(room).items() if each in options.only}
        for title, scene in found.items():
            report[title] = stops_of(
                scene, room / "out", options.every, options.scores, reads=options.reads
            )
            print(title, json.dumps(report[title], indent=1), flush=True)
        draw = random.Random(options.seed)
        report["pairs"] = pairs_of(found, room / "out", options.pairs, draw, reads=options.reads)
        print("pairs", json.dumps(report["pairs"], indent=1), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "split_brain.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    if any(each["num_wrong"] for each in report.values() if isinstance(each, dict)):
        sys.exit(1)


if __name__ == "__main__":
    main()
