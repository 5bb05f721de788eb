"""Whatever happens to a run, the same command again ends with the same bytes.

    python -m benchmarks.chaos [--images 300] [--kills 60] [--stage import|auto] [--only NAME ...]

A few hundred small pictures become a dataset once undisturbed, and then

kills         with four workers, while random workers and the parent are killed with SIGKILL at
              random moments; whenever the parent is gone the same command is started again
two-parents   with the same command started twice at once, both killed at random as above
full-disk     on a file system that is full again and again (a tmpfs; where none may be mounted,
              under a limit on the size of files), with room made after each error
read-errors   while files of the input cannot be read (gone, a folder, a link in a circle, cut, no
              permission), killed at random, then mended and run with --retry-failed, killed again

Each must end complete, byte for byte as the undisturbed one but for the seconds in the stats, and
free of problems under `verify`. Written beside this script: `results/chaos.json`, for another stage
than the default `results/chaos-STAGE.json`.

The stage is `import` by default: polygons of a COCO file, so that starting again loads no model;
`auto` does the same with a small model of random weights.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from benchmarks.provenance import commit, load_average, today
from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.verify import verify

HERE = Path(__file__).resolve().parent
SIZE_WH = (160, 120)
POLYGONS = 12
WORKERS = 4


@dataclass
class Scene:
    """Pictures, and the command that makes a dataset of them."""

    folder: Path
    stage: str
    pictures: list[Path] = field(default_factory=list)

    def make(self, count: int) -> None:
        """Write `count` pictures, and polygons on them or a model for them."""
        draw = np.random.default_rng(5)
        images = self.folder / "images"
        images.mkdir()
        width, height = SIZE_WH
        coco: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
        coco["categories"].append({"id": 1, "name": "blot"})
        for number in range(count):
            pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
            path = images / f"picture {number:04d}.png"
            Image.fromarray(pixels).save(path)
            self.pictures.append(path)
            coco["images"].append(
                {"id": number, "file_name": path.name, "width": width, "height": height}
            )
            for _ in range(POLYGONS):
                corners = draw.uniform((0, 0), SIZE_WH, (5, 2)).round(2)
                coco["annotations"].append(
                    {
                        "id": len(coco["annotations"]) + 1,
                        "image_id": number,
                        "category_id": 1,
                        "segmentation": [corners.ravel().tolist()],
                        "iscrowd": 0,
                    }
                )
        (self.folder / "coco.json").write_text(json.dumps(coco))
        # A list, since a folder from which files are gone is another input.
        listing = "".join(f"{path}\n" for path in self.pictures)
        (self.folder / "images.txt").write_text(listing)
        if self.stage == "auto":
            make_model(self.folder / "model.safetensors")

    def command(self, out: Path, *more: str) -> list[str]:
        """The command line that makes, or continues, the dataset at `out`."""
        images, start = str(self.folder / "images.txt"), [sys.executable, "-m", "sa_engine"]
        if self.stage == "import":
            start += ["import", str(self.folder / "coco.json"), "--images", images]
        else:
            start += ["auto", "--images", images, "--points-per-side", "3", "--precision", "fp32"]
            start += ["--checkpoint", str(self.folder / "model.safetensors"), "--device", "cpu"]
        return [*start, "--out", str(out), "--images-per-shard", "8", *more]

    def start(self, out: Path, *more: str, workers: int = WORKERS) -> "Run":
        """The command as a process."""
        # A file, since orphaned workers would keep a pipe open.
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the run
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            self.command(out, "--workers", str(workers), *more),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
        )
        return Run(process, errors)


@dataclass
class Run:
    """A command that was started."""

    process: subprocess.Popen[bytes]
    errors: IO[str]

    def end(self) -> str:
        """Wait for it; RuntimeError if it went wrong in a way that kills do not explain.

        Returns "done", "killed" or "gave up" (too many of its workers were killed in a row).
        """
        status = self.process.wait()
        with self.errors:
            self.errors.seek(0)
            error = self.errors.read()
        if status in (0, 3):
            return "done"
        if status == -signal.SIGKILL:
            return "killed"
        if status == 1 and "workers died" in error:
            return "gave up"
        raise RuntimeError(f"exit status {status}: {error}")


def make_model(path: Path) -> None:
    """A model of random weights whose thresholds let masks through."""
    import torch

    from sa_engine.model.card import ModelCard
    from sa_engine.model.checkpoint import save_checkpoint
    from sa_engine.model.variants import build_sam

    torch.manual_seed(0)
    card = ModelCard(
        name="random",
        variant="vit_t",
        image_size=128,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
    )
    save_checkpoint(build_sam("vit_t", image_size=128), path, card)


def content(out: Path) -> dict[str, Any]:
    """Every file of a dataset: its bytes, or of stats all but the seconds."""
    found: dict[str, Any] = {}
    for path in sorted(out.iterdir()):
        data = path.read_bytes() if path.is_file() else b""
        if path.name.endswith("_stats.json"):
            found[path.name] = {**unseal(data, name=path.name), "seconds": 0}
        else:
            found[path.name] = data
    return found


def workers_of(parent: int) -> list[int]:
    """The worker processes of a run."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            line = (entry / "cmdline").read_bytes()
            if fields[1] == str(parent) and fields[0] != "Z" and b"spawn_main" in line:
                found.append(int(entry.name))
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Killer:
    """Kills at random moments.

    patience: seconds of processor time after which a worker is killed, at most.
    most: kills after which nobody is killed any more.
    """

    draw: random.Random
    patience: float
    most: int
    of_workers: int = 0
    of_parents: int = 0

    @property
    def kills(self) -> int:
        """Processes that were alive and were killed."""
        return self.of_workers + self.of_parents

    def haunt(self, start: Callable[[], Run], parents: int = 1) -> int:
        """Keep `parents` commands running, and kill, until one of them ends well; starts in all."""
        starts = parents
        running = [start() for _ in range(parents)]
        while True:
            if self.kills < self.most:
                self._wait_and_kill(self.draw.choice(running).process)
            else:
                time.sleep(0.05)
            for position, run in enumerate(running):
                if run.process.poll() is None:
                    continue
                if run.end() == "done":
                    for other in running[:position] + running[position + 1 :]:
                        other.end()
                    return starts
                running[position] = start()
                starts += 1

    def _wait_and_kill(self, parent: subprocess.Popen[bytes]) -> None:
        """Kill the parent or one of its workers once they have worked for a random time.

        Time is counted as the processor's: however busy the machine, kills fall on all that a
        process does, from its first imports to its last shard.
        """
        kill_parent, patience = self.draw.random() < 0.2, self.draw.uniform(0.1, self.patience)
        chosen = 0
        while parent.poll() is None:
            workers = workers_of(parent.pid)
            if kill_parent and sum(map(cpu_seconds, [parent.pid, *workers])) >= 4 * patience:
                parent.kill()
                self.of_parents += 1
                return
            if not kill_parent and chosen not in workers:
                chosen = self.draw.choice(workers) if workers else 0
            if chosen and cpu_seconds(chosen) >= patience:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chosen, signal.SIGKILL)
                    self.of_workers += 1
                return
            time.sleep(0.02)


@dataclass
class Chaos:
    """The scene, what it becomes undisturbed, and the scenarios."""

    scene: Scene
    calm: dict[str, Any]
    room: Path
    draw: random.Random
    patience: float
    kills: int

    def judge(self, out: Path) -> dict[str, bool]:
        """Whether a dataset is what it should be; it is removed."""
        found = content(out)
        verdict = {"identical": found == self.calm, "no_problems": verify(out) == []}
        shutil.rmtree(out)
        return verdict

    def killed(self, parents: int, share: float) -> dict[str, Any]:
        """Datasets made under kills until there were enough of them."""
        wanted = max(1, round(self.kills * share))
        killer = Killer(self.draw, self.patience, wanted)
        starts = 0
        verdicts: list[dict[str, bool]] = []
        while killer.kills < wanted:
            out = self.room / f"killed-{parents}-{len(verdicts)}"
            starts += killer.haunt(partial(self.scene.start, out), parents)
            verdicts.append(self.judge(out))
        return {
            "kills_of_workers": killer.of_workers,
            "kills_of_parents": killer.of_parents,
            "starts": starts,
            "datasets": len(verdicts),
            **{name: all(each[name] for each in verdicts) for name in verdicts[0]},
        }

    def full_disk(self) -> dict[str, Any]:
        """Run into a full disk, make some room, again and again."""
        size = sum(len(data) for data in self.calm.values() if isinstance(data, bytes))
        with small_disk(self.room / "disk", 2 * size + (4 << 20)) as how:
            disk = self.room / "disk"
            errors: list[str] = []
            out = disk / "dataset"
            while len(errors) < 50:
                limit = size // 10 * (len(errors) + 1) if len(errors) < 12 else None
                done = self._run_in(disk, out, how, limit)
                if done.returncode == 0:
                    break
                errors.append(done.stderr.strip())
            named = ("No space left on device", "File too large")
            clear = all(
                error.startswith("Error: cannot write") and any(each in error for each in named)
                for error in errors
            )
            half_written = [
                path.name for path in out.iterdir() if path.is_file() and path.name not in self.calm
            ]
            verdict = self.judge(out)
        return {
            "how": how,
            "errors": len(errors),
            "every_error_clear": clear,
            "an_error": errors[0].replace(str(self.room), "") if errors else None,
            "left_over": half_written,
            **verdict,
        }

    def _run_in(
        self, disk: Path, out: Path, how: str, limit: int | None
    ) -> subprocess.CompletedProcess[str]:
        """The command with so much room, in bytes, for the dataset; None for enough."""
        command = self.scene.command(out, "--workers", str(WORKERS))
        ballast = disk / "ballast"
        ballast.unlink(missing_ok=True)
        prefix: list[str] = []
        if limit is not None and how == "tmpfs":
            used = sum(path.stat().st_size for path in disk.rglob("*") if path.is_file())
            free = shutil.disk_usage(disk).free
            ballast.write_bytes(bytes(max(0, free - max(0, limit - used))))
        elif limit is not None:
            # The largest file is a shard's tar: it cannot be finished until the limit is over it.
            prefix = ["bash", "-c", f'ulimit -f {max(1, limit // 40960)}; "$@"', "limited"]
        return subprocess.run(
            [*prefix, *command],
            env={**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    def read_errors(self) -> dict[str, Any]:
        """Break a fifth of the input while a killed run makes the dataset, then mend and retry."""
        killer = Killer(self.draw, self.patience, max(1, self.kills // 4))
        out = self.room / "read-errors"
        ways = (vanish, cut, fold, circle, forbid)
        chosen = self.draw.sample(self.scene.pictures, len(self.scene.pictures) // 5)
        mending = [ways[k % len(ways)](path) for k, path in enumerate(chosen)]
        starts = killer.haunt(partial(self.scene.start, out))
        failed = sum(
            sum(found["num_failed"].values())
            for name, found in content(out).items()
            if name.endswith("_stats.json")
        )
        for mend in mending:
            mend()
        killer.most *= 2
        starts += killer.haunt(partial(self.scene.start, out, "--retry-failed"))
        # Images that a killed retry had tried before are taken up once more at the end.
        self.scene.start(out, "--retry-failed").end()
        return {
            "broken": len(chosen),
            "recorded_as_failed": failed,
            "kills": killer.kills,
            "starts": starts,
            **self.judge(out),
        }


def vanish(path: Path) -> Callable[[], None]:
    """The file is gone; mended by putting it back."""
    data = path.read_bytes()
    path.unlink()
    return lambda: restore(path, data)


def cut(path: Path) -> Callable[[], None]:
    """The file ends too early."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return lambda: restore(path, data)


def fold(path: Path) -> Callable[[], None]:
    """A folder has the file's name."""
    data = path.read_bytes()
    path.unlink()
    path.mkdir()
    return lambda: restore(path, data)


def circle(path: Path) -> Callable[[], None]:
    """The name is a link to itself."""
    data = path.read_bytes()
    path.unlink()
    path.symlink_to(path.name)
    return lambda: restore(path, data)


def forbid(path: Path) -> Callable[[], None]:
    """Nobody may read it (a superuser may: for one the file is empty)."""
    data = path.read_bytes()
    if os.geteuid():
        path.chmod(0)
    else:
        path.write_bytes(b"")
    return lambda: restore(path, data)


def restore(path: Path, data: bytes) -> None:
    """Put a file back."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_bytes(data)


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[str]:
    """A file system of so many bytes at `path`, "tmpfs"; "limit" where none may be mounted."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield "tmpfs" if mounted else "limit"
    finally:
        if mounted:
            subprocess.run(["umount", str(path)], check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the scene, run the scenarios, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--stage", choices=("import", "auto"), default="import")
    parser.add_argument("--patience", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {
        "what": "runs that were killed, starved and misled; what their datasets were in the end",
        "commit": commit(),
        "date": today(),
        "stage": options.stage,
        "images": options.images,
        "workers": WORKERS,
        "load_average": load_average(),
    }
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        scene = Scene(room / "scene", options.stage)
        scene.folder.mkdir()
        scene.make(options.images)
        calm = room / "calm"
        scene.start(calm).end()
        draw = random.Random(options.seed)
        chaos = Chaos(scene, content(calm), room, draw, options.patience, options.kills)
        scenarios: dict[str, Callable[[], dict[str, Any]]] = {
            "kills": lambda: chaos.killed(1, 1.0),
            "two-parents": lambda: chaos.killed(2, 0.25),
            "full-disk": chaos.full_disk,
            "read-errors": chaos.read_errors,
        }
        for title, scenario in scenarios.items():
            if options.only and title not in options.only:
                continue
            started = time.monotonic()
            report[title] = {**scenario(), "seconds": round(time.monotonic() - started, 1)}
            print(title, json.dumps(report[title]), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    name = "chaos.json" if options.stage == "import" else f"chaos-{options.stage}.json"
    (options.out / name).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    if not all(
        found["identical"] and found["no_problems"]
        for found in report.values()
        if isinstance(found, dict)
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
