"""Every command that writes, killed and starved.

    python -m benchmarks.every_command [--only NAME ...] [--kills 10] [--full 10]

Each command is run twice undisturbed: what both runs have in common is what it must always make.
Then, many times over,

kills   it is killed with all of its processes at a random moment, again and again, until it gets
        through; at least every second time it is left alone, so that it does
full    its output lies on a file system with room for a random part of what it writes (a tmpfs;
        where none may be mounted, under a limit on the size of files): it must end with status 1
        and one line that says what cannot be written, and run through once there is room

In the end there must be the files of an undisturbed run, by name and, where two undisturbed runs
agree, by every byte; nothing more, no temporary file among them. Written beside this script:
results/every_command.json; a command that is not run keeps what the file has of it.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.chaos import make_model
from benchmarks.provenance import commit, today
from sa_engine.cli.main import main as sa_engine
from tests.support.same_bytes import TIMED
from tests.support.scene_datasets import write_scenes

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "every_command.json"
LONGEST_S = 300
NAMED = ("Error: cannot write", "MiB are free")
"""What the last line says: that something cannot be written, or that there is no room to begin."""

PLENTY = 1 << 30
"""Bytes of a file system that has room."""

Picture = dict[str, str | None]
"""Files by their path: a digest, or None where it is another each time."""

GROUPS = {
    "on_model": "--checkpoint {model} --device cpu",
    "grid": "--points-per-side 4",
    "shards": "--precision fp32 --images-per-shard 3",
    "steps": "--steps 3 --batch-images 2 --device cpu",
    "small": "--recipe scratch --image-size 32 --masks-per-image 2 --rounds 2",
}
"""Options that several commands have."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is tried.

    line: words; `{out}` is a folder that is there and empty, but for what is copied from `before`.
    before: the name of something in the scene that the command changes.
    """

    line: str
    before: str | None = None


COMMANDS: dict[str, Command] = {
    "auto": Command("auto {photos} {on_model} {grid} {shards} --out {out}/x"),
    "auto --prepare": Command("auto {photos} {on_model} {grid} {shards} --prepare --out {out}/x"),
    "work": Command("work {out}/prepared {on_model}", "prepared"),
    "semi": Command("semi {photos} {on_model} --detector {detector} {shards} --out {out}/x"),
    "import": Command("import {coco} --images-per-shard 2 --out {out}/x"),
    "merge": Command("merge {scenes} {auto} --out {out}/x"),
    "split": Command("split {scenes} --val 0.5 --out-train {out}/a --out-val {out}/b"),
    "verify --repair": Command("verify {out}/damaged --repair {on_model}", "damaged"),
    **{
        f"export {name}": Command(f"export {{scenes}} --format {name} --out {{out}}/x")
        for name in ("coco", "yolo-seg", "labelme", "cvat", "label-studio", "masks", "sa-1b")
    },
    "show": Command("show {scenes} --out {out}/x"),
    "report": Command("report {scenes} --out {out}/x"),
    "audit draw": Command("audit draw {scenes} --images 2 --out {out}/x"),
    "audit read": Command("audit read {audit}/to-correct --audit {audit} --out {out}/x.csv"),
    "audit rate": Command("audit rate {scenes} --masks 4 --out {out}/x"),
    "train sam": Command("train sam --data {scenes} {small} {steps} --out {out}/x.safetensors"),
    "train detector": Command(
        "train detector --data {scenes} --checkpoint {model} {steps} --out {out}/x.safetensors"
    ),
    "train pack": Command("train pack {scenes} --out {out}/x.pack"),
    "model convert": Command("model convert {model} {out}/x.pth"),
    "model average": Command("model average {model} {model} --out {out}/x.safetensors"),
    "model compare": Command(
        "model compare --images {photos} --model {model} {grid} --device cpu cpu --out {out}/x.json"
    ),
    **{
        f"evaluate {name}": Command(
            f"evaluate {name} {{scenes}} {{on_model}} {more} --out {{out}}/x.parquet --force"
        )
        for name, more in (
            ("points", "--points 1"),
            ("proposals", "{grid}"),
            ("boxes", "--detector {detector}"),
            ("instances", ""),
            ("edges", "--points-per-side 2 --thresholds 3"),
        )
    },
    "evaluate thresholds": Command(
        "evaluate thresholds {scenes} --checkpoint {out}/model.safetensors {grid} --write",
        "model.safetensors",
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. status: as of `subprocess`."""

    status: int
    errors: str

    @property
    def last_line(self) -> str:
        """What a person reads last."""
        return next(reversed(self.errors.strip().splitlines()), "")


class Scene:
    """What commands are given, and where they write."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        self.out.mkdir()
        photos = folder / "photos"
        photos.mkdir()
        draw = np.random.default_rng(2)
        for number in range(7):
            coarse = draw.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((80, 60)).save(photos / f"{number}.png")
        make_model(folder / "model.safetensors")
        write_scenes(folder / "scenes", range(5))
        self._make("train detector --data {scenes} --checkpoint {model} {steps} --out {detector}")
        self._make("auto {photos} {on_model} {grid} {shards} --out {auto}")
        self._make("auto {photos} {on_model} {grid} {shards} --prepare --out {here}/prepared")
        self._make("export {scenes} --format coco --out {coco}")
        self._make("audit draw {scenes} --images 2 --out {audit}")
        shutil.copytree(folder / "auto", folder / "damaged")
        with next((folder / "damaged").glob("*.tar")).open("r+b") as tar:
            tar.seek(2000)
            tar.write(b"damaged")

    def _make(self, line: str) -> None:
        done = self.run(Command(line))
        if done.status:
            raise RuntimeError(f"{line}: {done.errors}")

    def _words(self, command: Command) -> list[str]:
        here = self.folder
        places = {"here": here, "out": self.out, "model": here / "model.safetensors"}
        places["detector"] = here / "detector.safetensors"
        places |= {each: here / each for each in ("photos", "scenes", "auto", "audit", "coco")}
        groups = {name: words.format(**places) for name, words in GROUPS.items()}
        line = command.line.format(**groups, **places)
        return line.split()

    def reset(self, command: Command) -> None:
        """An empty place to write, but for what the command changes."""
        for path in self.out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if command.before is None:
            return
        before = self.folder / command.before
        if before.is_dir():
            shutil.copytree(before, self.out / before.name)
        else:
            shutil.copy(before, self.out / before.name)

    def run(
        self, command: Command, *, kill_after: float | None = None, limit: int | None = None
    ) -> Outcome:
        """The command in a process of its own.

        kill_after: seconds. limit: bytes that a file may have.
        """
        with tempfile.TemporaryFile("w+") as errors:
            child = os.fork()
            if child == 0:
                _become(self._words(command), errors.fileno(), limit)
            begun, status = time.monotonic(), None
            while status is None:
                ended, found = os.waitpid(child, os.WNOHANG)
                passed = time.monotonic() - begun
                if ended:
                    status = os.waitstatus_to_exitcode(found)
                elif passed > (LONGEST_S if kill_after is None else kill_after):
                    _kill_all(child)
                    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                else:
                    time.sleep(0.005)
            errors.seek(0)
            return Outcome(status, errors.read())

    def picture(self) -> Picture:
        """Every file of the output."""
        return {
            str(path.relative_to(self.out)): hashlib.sha256(lasting(path)).hexdigest()
            for path in sorted(self.out.rglob("*"))
            if path.is_file()
        }

    def size(self) -> int:
        """Bytes of the output."""
        return sum(path.stat().st_size for path in self.out.rglob("*") if path.is_file())


def lasting(path: Path) -> bytes:
    """A file's bytes; of a shard's stats all but the seconds, which may agree by chance."""
    if not path.name.endswith("_stats.json"):
        return path.read_bytes()
    values = json.loads(path.read_bytes())
    return repr({name: value for name, value in values.items() if name not in TIMED}).encode()


def _become(words: Sequence[str], errors: int, limit: int | None) -> None:
    """Run the command; never returns."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(errors, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    status: Any = 70
    try:
        sa_engine(list(words))
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def _kill_all(leader: int) -> None:
    """The process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def common(first: Picture, second: Picture) -> Picture:
    """What two undisturbed runs agree on. Raises RuntimeError where they differ in names."""
    if first.keys() != second.keys():
        raise RuntimeError(f"two runs differ in {sorted(first.keys() ^ second.keys())}")
    return {name: value if second[name] == value else None for name, value in first.items()}


def differences(found: Picture, expected: Picture) -> list[str]:
    """What is too much, missing, or other than it should be."""
    said = [f"left over: {name}" for name in found.keys() - expected.keys()]
    said += [f"missing: {name}" for name in expected.keys() - found.keys()]
    said += [
        f"other bytes: {name}"
        for name, value in expected.items()
        if value is not None and found.get(name, value) != value
    ]
    return sorted(said)


def killed(
    scene: Scene,
    command: Command,
    expected: Picture,
    seconds: float,
    tries: int,
    draw: random.Random,
) -> tuple[int, list[str]]:
    """(kills, what was wrong)."""
    kills, wrong = 0, []
    for _ in range(tries):
        scene.reset(command)
        for attempt in range(20):
            left_alone = attempt % 2 == 1
            after = None if left_alone else draw.uniform(0, 1.1 * seconds)
            done = scene.run(command, kill_after=after)
            if done.status == 0:
                break
            if done.status == -signal.SIGKILL and not left_alone:
                kills += 1
                continue
            wrong.append(f"after a kill: status {done.status}: {done.last_line}")
            break
        wrong += differences(scene.picture(), expected)
    return kills, wrong


def starved(
    scene: Scene, command: Command, expected: Picture, tries: int, draw: random.Random
) -> tuple[int, list[str]]:
    """(tries that ended for want of room, what was wrong)."""
    scene.reset(command)
    before = scene.size()
    scene.run(command)
    wanted = scene.size() - before
    largest = max(path.stat().st_size for path in scene.out.rglob("*") if path.is_file())
    ended, wrong = 0, []
    for _ in range(tries):
        share = math.exp(draw.uniform(math.log(1e-3), 0))
        with disk(scene.out) as is_mounted:
            scene.reset(command)
            limit = None if is_mounted else max(64, int(share * largest))
            if is_mounted:
                resize(scene.out, shutil.disk_usage(scene.out).used + int(1.5 * share * wanted))
            done = scene.run(command, limit=limit)
            if done.status:
                ended += 1
                is_named = any(words in done.last_line for words in NAMED)
                if done.status not in (1, 2) or "Traceback" in done.errors or not is_named:
                    wrong.append(f"full: status {done.status}: {done.last_line}")
                if is_mounted:
                    resize(scene.out, PLENTY)
                done = scene.run(command)
                if done.status:
                    wrong.append(f"with room: status {done.status}: {done.last_line}")
            wrong += differences(scene.picture(), expected)
    return ended, wrong


@contextlib.contextmanager
def disk(path: Path) -> Iterator[bool]:
    """A file system of its own at `path`; whether one could be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", str(path)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(path)], check=True)


def resize(path: Path, size: int) -> None:
    """Give a file system so many bytes, in whole pages."""
    pages = -(-size // 4096)
    subprocess.run(["mount", "-o", f"remount,size={4096 * pages}", path], check=True)


def main() -> None:
    """Try the commands, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--kills", type=int, default=10, help="tries of each command")
    parser.add_argument("--full", type=int, default=10, help="tries of each command")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONPATH"] = str(HERE.parent)
    import torch

    torch.set_num_threads(1)
    known: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    rows: dict[str, Any] = known.get("commands", {})
    with tempfile.TemporaryDirectory() as name:
        scene = Scene(Path(name))
        for title in options.only:
            command, draw = COMMANDS[title], random.Random(f"{options.seed} {title}")
            pictures, seconds = [], 0.0
            for _ in range(2):
                scene.reset(command)
                begun = time.monotonic()
                done = scene.run(command)
                seconds = time.monotonic() - begun
                if done.status:
                    raise RuntimeError(f"{title}: status {done.status}: {done.errors}")
                pictures.append(scene.picture())
            expected = common(*pictures)
            kills, wrong = killed(scene, command, expected, seconds, options.kills, draw)
            full, starved_wrong = starved(scene, command, expected, options.full, draw)
            rows[title] = {
                "files": len(expected),
                "same_bytes": sum(value is not None for value in expected.values()),
                "kills": kills,
                "full": full,
                "wrong": wrong + starved_wrong,
            }
            print(title, json.dumps(rows[title]), flush=True)
            report = {
                "what": "every command that writes, killed and on full disks",
                "commit": commit(),
                "date": today(),
                "commands": {each: rows[each] for each in COMMANDS if each in rows},
            }
            options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    if any(row["wrong"] for row in rows.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
