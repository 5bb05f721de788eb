"""Workers on real engines that are killed and lost: python -m benchmarks.engines [PART ...]

    slurm-kills     a job array on a real Slurm; random processes of it, and random elements, are
                    killed, and the array is handed over again until the dataset is complete
    slurm-cases     preemption, a lost machine (two nodes with boot ids of their own), part of an
                    array, two arrays at once, elements told to end at start-up, failed images
                    before a dependent job
    ray-kills       two raylets; a task, the second raylet or the command itself is killed
    ray-overhead    the same 200 images by two tasks of Ray and by two workers of this machine
    recovery        seconds from the death of the only worker until another has finished an image

Each dataset must end with the bytes of one undisturbed run (but for the seconds in its stats), and
`verify` must find nothing. Written beside this script: results/engines.json and engines.md; a part
that is not run keeps what the file has of it. Slurm and the raylets are started as root.
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
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.chaos import make_model, workers_of
from benchmarks.provenance import commit, load_average, processor, today
from sa_engine.dataset.status import read_status
from tests.support.raylets import RayCluster, running_ray
from tests.support.same_bytes import content
from tests.support.slurm import Slurm, running_slurm

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ENDED = {"COMPLETED", "CANCELLED", "FAILED", "NODE_FAIL", "TIMEOUT", "PREEMPTED"}
OWN = {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
PATIENCE_S = 16.0
"""Kills come at random within so many seconds of each other: a start takes some five."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Pictures, a model of random weights, and what they become undisturbed."""

    folder: Path
    shards: int
    calm: dict[str, Any]

    @property
    def options(self) -> list[str]:
        """What `auto` is told but for --out."""
        return [
            *("--images", str(self.folder / "pictures")),
            *("--checkpoint", str(self.folder / "model.safetensors"), "--device", "cpu"),
            *("--points-per-side", "24", "--images-per-shard", "2", "--precision", "fp32"),
        ]

    def prepare(self, name: str) -> Path:
        """A dataset that is begun."""
        out = self.folder / name
        engine("auto", *self.options, "--out", str(out), "--prepare")
        return out

    def judge(self, out: Path) -> dict[str, bool]:
        """Whether a dataset is what it should be; it is removed."""
        problems = subprocess.run(
            [*command(), "verify", str(out)], env=environment(), capture_output=True, check=False
        )
        verdict = {"identical": content(out) == self.calm, "verified": problems.returncode == 0}
        for path in self.folder.glob(f"{out.name}*"):
            shutil.rmtree(path)
        return verdict


def command() -> list[str]:
    """`sa-engine` of this checkout."""
    return [sys.executable, "-m", "sa_engine"]


def environment() -> dict[str, str]:
    """Of every process: this checkout, and one thread."""
    return {**os.environ, **OWN}


def engine(*words: str, **more: str) -> str:
    """What the command prints; RuntimeError where it fails. more: of the environment."""
    done = subprocess.run(
        [*command(), *words],
        env={**environment(), **more, **OWN},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{' '.join(words)}: exit status {done.returncode}: {done.stderr}")
    return done.stdout


def write_pictures(folder: Path, count: int) -> None:
    """Small pictures of coarse noise."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(1)
    for number in range(count):
        coarse = draw.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((120, 90)).save(folder / f"{number:03}.png")


def make_scene(folder: Path, shards: int) -> Scene:
    """Two pictures a shard."""
    write_pictures(folder / "pictures", 2 * shards)
    make_model(folder / "model.safetensors")
    calm = Scene(folder, shards, {})
    engine("auto", *calm.options, "--out", str(folder / "calm"))
    return Scene(folder, shards, content(folder / "calm"))


def is_complete(out: Path) -> bool:
    """Whether all shards are there."""
    return read_status(out).is_complete


def submit(slurm: Slurm, scene: Scene, out: Path, workers: int, *more: str) -> str:
    """Hand the work over. Returns the array's id."""
    said = engine(
        *("submit", "slurm", str(out), "--checkpoint", str(scene.folder / "model.safetensors")),
        *("--gpus", "0", "--cpus", "1", "--memory", "1G", "--workers", str(workers), "--json"),
        *more,
        **slurm.environment,
    )
    (job,) = json.loads(said)["jobs"]
    return str(job)


def has_ended(slurm: Slurm, job: str) -> bool:
    """Whether no element is or will be at work."""
    return set(slurm.states(job).values()) <= ENDED


def processes_of(job: str) -> list[int]:
    """The engine's processes in an array."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            if b"sa_engine" not in words and b"spawn_main" not in words:
                continue
            variables = (entry / "environ").read_bytes().split(b"\0")
            if f"SLURM_ARRAY_JOB_ID={job}".encode() in variables and words.startswith(b"/"):
                found.append(int(entry.name))
    return sorted(found)


def slurm_kills(scene: Scene, wanted: int, draw: random.Random) -> dict[str, Any]:
    """Datasets made under kills until there were enough of them."""
    kills: Counter[str] = Counter()
    verdicts: list[dict[str, bool]] = []
    arrays = 0
    with tempfile.TemporaryDirectory() as folder, running_slurm(Path(folder)) as slurm:
        while kills.total() < wanted:
            out = scene.prepare(f"slurm-{len(verdicts)}")
            while not is_complete(out):
                job = submit(slurm, scene, out, 3)
                arrays += 1
                while not has_ended(slurm, job):
                    time.sleep(draw.uniform(0, PATIENCE_S))
                    if kills.total() < wanted:
                        kills.update(kill_in_array(slurm, job, draw))
            verdicts.append(scene.judge(out))
            print(f"{kills.total()} kills, {len(verdicts)} datasets, {arrays} arrays", flush=True)
    return {"kills": dict(kills), "arrays": arrays, **together(verdicts)}


def kill_in_array(slurm: Slurm, job: str, draw: random.Random) -> list[str]:
    """Kill one process, or one element with all of its processes. Returns what was killed."""
    if draw.random() < 0.3:
        alive = [n for n, state in slurm.states(job).items() if state == "RUNNING"]
        if not alive:
            return []
        slurm.ask("scancel", "--full", "--signal=KILL", f"{job}_{draw.choice(alive)}")
        return ["element"]
    found = processes_of(job)
    if not found:
        return []
    with contextlib.suppress(ProcessLookupError):
        os.kill(draw.choice(found), signal.SIGKILL)
        return ["process"]
    return []


def together(verdicts: list[dict[str, bool]]) -> dict[str, Any]:
    """What all datasets have in common."""
    return {
        "datasets": len(verdicts),
        **{name: sum(each[name] for each in verdicts) for name in ("identical", "verified")},
    }


def slurm_cases(scene: Scene, _wanted: int, draw: random.Random) -> dict[str, Any]:
    """One dataset a case."""
    cases: dict[str, Callable[[Slurm, Scene, Path, random.Random], dict[str, Any]]] = {
        "preempted": preempted,
        "part of an array": part_of_an_array,
        "two arrays at once": two_arrays,
        "told to end at start-up": told_at_start,
        "USR1": told_by_usr1,
        "failed images before a dependent job": before_a_dependent,
        "a lost machine": lost_machine,
    }
    found: dict[str, Any] = {}
    for title, case in cases.items():
        machines = ("n1", "n2") if case is lost_machine else ()
        cpus = 3 if case is preempted else 1 if case is lost_machine else 16
        with (
            tempfile.TemporaryDirectory() as folder,
            running_slurm(Path(folder), machines, cpus) as slurm,
        ):
            out = scene.prepare(title.replace(" ", "-"))
            began = time.monotonic()
            seen = case(slurm, scene, out, draw)
            found[title] = {
                **seen,
                "seconds": round(time.monotonic() - began, 1),
                "complete": is_complete(out),
                **scene.judge(out),
            }
        print(title, found[title], flush=True)
    return found


def running_steps(slurm: Slurm, job: str, count: int) -> None:
    """Wait until so many elements have begun: a signal to what has not is lost."""
    for number in range(count):

        def has_begun(element: str = f"{job}_{number}") -> bool:
            return "State=RUNNING" in slurm.steps(element)

        slurm.wait("running steps", has_begun)


def some_done(slurm: Slurm, out: Path, count: int) -> None:
    """Wait for so many images."""
    slurm.wait(f"{count} images", lambda: read_status(out).num_done >= count)


def the_end(slurm: Slurm, job: str) -> dict[str, int]:
    """Wait for it. Returns the elements by their state."""
    slurm.wait("end of the array", lambda: has_ended(slurm, job), 600)
    return dict(Counter(slurm.states(job).values()))


def preempted(slurm: Slurm, scene: Scene, out: Path, _: random.Random) -> dict[str, Any]:
    """A job of a partition that goes first needs the node; the elements come back after it."""
    job = submit(slurm, scene, out, 3, "--partition", "all")
    running_steps(slurm, job, 3)
    some_done(slurm, out, 3)
    urgent = "#!/bin/sh\nsleep 5\n"
    script = out.with_name("urgent.sh")
    script.write_text(urgent)
    slurm.run("sbatch", "-p", "urgent", "-n", "3", "--mem=100", "-o", "/dev/null", script)
    states = the_end(slurm, job)
    logs = "".join(path.read_text() for path in out.with_name(out.name + ".slurm").glob("*.log"))
    return {"states": states, "second_tries": logs.count("try 2")}


def part_of_an_array(slurm: Slurm, scene: Scene, out: Path, _: random.Random) -> dict[str, Any]:
    """Elements 1 and 3 of the script alone make everything."""
    job = submit(slurm, scene, out, 4)
    slurm.run("scancel", job)
    the_end(slurm, job)
    (script,) = out.with_name(out.name + ".slurm").glob("*.sh")
    part = slurm.run("sbatch", "--parsable", "--array=1,3", script).strip()
    return {"states": the_end(slurm, part)}


def two_arrays(slurm: Slurm, scene: Scene, out: Path, _: random.Random) -> dict[str, Any]:
    """More elements than shards in all."""
    jobs = [submit(slurm, scene, out, 4), submit(slurm, scene, out, 4)]
    return {"states": dict(sum((Counter(the_end(slurm, job)) for job in jobs), Counter()))}


def told_at_start(slurm: Slurm, scene: Scene, out: Path, draw: random.Random) -> dict[str, Any]:
    """TERM within the first five seconds of each element; all go on by themselves."""
    job = submit(slurm, scene, out, 3)
    running_steps(slurm, job, 3)
    for number in range(3):
        time.sleep(draw.uniform(0, 2))
        slurm.run("scancel", "--signal=TERM", f"{job}_{number}")
    return {"states": the_end(slurm, job)}


def told_by_usr1(slurm: Slurm, scene: Scene, out: Path, _: random.Random) -> dict[str, Any]:
    """The signal that other tools ask Slurm for."""
    job = submit(slurm, scene, out, 2)
    running_steps(slurm, job, 2)
    some_done(slurm, out, 2)
    slurm.run("scancel", "--signal=USR1", job)
    return {"states": the_end(slurm, job)}


def before_a_dependent(slurm: Slurm, scene: Scene, out: Path, _: random.Random) -> dict[str, Any]:
    """A picture cannot be read; --failed-images-ok lets the next job begin."""
    broken = scene.folder / "pictures" / "000.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    try:
        job = submit(slurm, scene, out, 2, "--failed-images-ok", "0.5")
        after = slurm.run(
            *("sbatch", "--parsable", f"--dependency=afterok:{job}", "-n", "1", "--mem=100"),
            *("-o", "/dev/null", "--wrap", "true"),
        ).strip()
        states = the_end(slurm, job)
        slurm.wait("dependent job", lambda: has_ended(slurm, after), 60)
        dependent = slurm.states(after)[""]
    finally:
        broken.write_bytes(whole)
    failed = sum(read_status(out).num_failed.values())
    engine("auto", *scene.options, "--out", str(out), "--retry-failed")
    return {"states": states, "failed_images": failed, "dependent": dependent}


def lost_machine(slurm: Slurm, scene: Scene, out: Path, _: random.Random) -> dict[str, Any]:
    """Every process of one of two machines is killed; Slurm requeues, others take over."""
    job = submit(slurm, scene, out, 2)
    running_steps(slurm, job, 2)
    some_done(slurm, out, 3)
    slurm.lose("n2")
    lost = time.monotonic()
    states = the_end(slurm, job)
    left = scene.shards * 2 - read_status(out).num_done
    again = 0
    while not is_complete(out):
        again += 1
        the_end(slurm, submit(slurm, scene, out, 1))
        time.sleep(5)
    return {
        "states": states,
        "images_left_by_the_array": left,
        "arrays_after_it": again,
        "complete_after_s": round(time.monotonic() - lost, 1),
    }


def ray_kills(scene: Scene, wanted: int, draw: random.Random) -> dict[str, Any]:
    """Datasets made under kills until there were enough of them."""
    kills: Counter[str] = Counter()
    verdicts: list[dict[str, bool]] = []
    starts = 0
    with running_ray(PYTHONPATH=str(HERE.parent)) as cluster:
        while kills.total() < wanted:
            out = scene.folder / f"ray-{len(verdicts)}"
            while True:
                starts += 1
                with start_on_ray(cluster, scene, out) as driver:
                    while driver.poll() is None:
                        time.sleep(draw.uniform(0, PATIENCE_S))
                        if kills.total() < wanted and driver.poll() is None:
                            kills.update(kill_on_ray(cluster, driver, draw))
                    noted = driver.communicate()[1]
                if driver.returncode == 0:
                    break
                if driver.returncode != -signal.SIGKILL and "workers were lost" not in noted:
                    raise RuntimeError(f"exit status {driver.returncode}: {noted}")
            verdicts.append(scene.judge(out))
            print(f"{kills.total()} kills, {len(verdicts)} datasets, {starts} starts", flush=True)
    return {"kills": dict(kills), "starts": starts, **together(verdicts)}


def start_on_ray(
    cluster: RayCluster, scene: Scene, out: Path, workers: int = 2
) -> "subprocess.Popen[str]":
    """The command, with so many tasks."""
    where = ("--executor", "ray", "--ray-address", cluster.address, "--workers", str(workers))
    return subprocess.Popen(
        [*cluster.inside, *command(), "auto", *scene.options, "--out", str(out), *where],
        env=cluster.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_on_ray(
    cluster: RayCluster, driver: "subprocess.Popen[str]", draw: random.Random
) -> list[str]:
    """Kill a task's process, the second raylet (another comes) or the command."""
    way = draw.random()
    if way < 0.15:
        driver.kill()
        return ["command"]
    if way < 0.35:
        cluster.lose_second()
        cluster.start_second()
        return ["raylet"]
    found = cluster.workers()
    if not found:
        return []
    with contextlib.suppress(ProcessLookupError):
        os.kill(draw.choice(found), signal.SIGKILL)
        return ["task"]
    return []


def ray_overhead(_scene: Scene, _wanted: int, _draw: random.Random) -> dict[str, Any]:
    """200 images of one size, in turns: local, Ray, Ray, local.

    Half of the cores work, so that Ray's own processes find one.
    """
    # Ray starts its workers at a niceness of 15, so that whatever else runs comes first.
    equal = {"PYTHONPATH": str(HERE.parent), "RAY_worker_niceness": "0"}
    with tempfile.TemporaryDirectory() as name, running_ray(**equal) as cluster:
        folder = Path(name)
        write_pictures(folder / "pictures", 200)
        make_model(folder / "model.safetensors")
        workers = max((os.cpu_count() or 2) // 2, 1)
        options = [
            *("--images", str(folder / "pictures"), "--device", "cpu", "--precision", "fp32"),
            *("--checkpoint", str(folder / "model.safetensors"), "--images-per-shard", "10"),
            *("--points-per-side", "12", "--workers", str(workers), "--json"),
        ]
        where = ("--executor", "ray", "--ray-address", cluster.address)
        turns: list[dict[str, Any]] = []
        for number, way in enumerate(("local", "ray", "ray", "local")):
            out = folder / f"{way}-{number}"
            words = [*command(), "auto", *options, "--out", str(out)]
            if way == "ray":
                words = [*cluster.inside, *words, *where]
            began = time.monotonic()
            with subprocess.Popen(
                words, env=cluster.environment, stdout=subprocess.DEVNULL
            ) as running:
                first, last = watch(out, running, 200)
            if running.returncode:
                raise RuntimeError(f"{way}: exit status {running.returncode}")
            turns.append(
                {
                    "way": way,
                    "seconds": round(time.monotonic() - began, 1),
                    "first_image_s": round(first - began, 1),
                    "images_per_s": round(190 / (last - first), 3),
                }
            )
            print(turns[-1], flush=True)
        same = content(folder / "local-0") == content(folder / "ray-1")
    rate = {
        way: sum(each["images_per_s"] for each in turns if each["way"] == way)
        for way in ("local", "ray")
    }
    return {
        "workers": workers,
        "cores": os.cpu_count(),
        "turns": turns,
        "ray_over_local": round(rate["ray"] / rate["local"], 4),
        "same": same,
    }


def recovery(scene: Scene, _wanted: int, _draw: random.Random) -> dict[str, Any]:
    """One worker at a time, killed once it has finished three images."""
    found: dict[str, float] = {}
    out = scene.folder / "recovery-local"
    words = [*command(), "auto", *scene.options, "--out", str(out)]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL) as running:
        wait_for_images(out, 3)
        os.kill(workers_of(running.pid)[0], signal.SIGKILL)
        found["a worker process of this machine"] = until_next(out)
        running.wait()
    scene.judge(out)
    with tempfile.TemporaryDirectory() as name, running_slurm(Path(name)) as slurm:
        out = scene.prepare("recovery-slurm")
        job = submit(slurm, scene, out, 1)
        wait_for_images(out, 3)
        began = time.monotonic()
        slurm.run("scancel", "--full", "--signal=KILL", f"{job}_0")
        slurm.wait("end of the array", lambda: has_ended(slurm, job))
        submit(slurm, scene, out, 1)
        until_next(out)
        seconds = round(time.monotonic() - began, 1)
        found["an element of Slurm, handed over again at once"] = seconds
        slurm.wait("the dataset", lambda: is_complete(out))
    scene.judge(out)
    with (
        tempfile.TemporaryDirectory() as name,
        running_slurm(Path(name), ("n1", "n2"), 1) as slurm,
    ):
        out = scene.prepare("recovery-machine")
        job = submit(slurm, scene, out, 1)
        wait_for_images(out, 3)
        slurm.lose(slurm.run("squeue", "-h", "-j", job, "-o", "%N").strip())
        found["a machine of Slurm (SlurmdTimeout 10 s)"] = until_next(out)
        slurm.wait("the dataset", lambda: is_complete(out))
    scene.judge(out)
    with running_ray(PYTHONPATH=str(HERE.parent)) as cluster:
        out = scene.folder / "recovery-ray"
        with start_on_ray(cluster, scene, out, workers=1) as driver:
            wait_for_images(out, 3)
            os.kill(cluster.workers()[0], signal.SIGKILL)
            found["a task of Ray"] = until_next(out)
            driver.communicate()
        scene.judge(out)
    print(found, flush=True)
    return {"seconds": found}


def num_done(out: Path) -> int:
    """Images done; 0 before the dataset is begun."""
    return read_status(out).num_done if (out / "manifest.json").exists() else 0


def wait_for_images(out: Path, count: int) -> None:
    """Until so many are done; AssertionError after five minutes."""
    limit = time.monotonic() + 300
    while num_done(out) < count:
        assert time.monotonic() < limit, f"{out} has {num_done(out)} images"
        time.sleep(0.05)


def until_next(out: Path) -> float:
    """Seconds until one more image is done."""
    began, before = time.monotonic(), num_done(out)
    wait_for_images(out, before + 1)
    return round(time.monotonic() - began, 1)


def watch(out: Path, running: "subprocess.Popen[bytes]", total: int) -> tuple[float, float]:
    """When the fifth image and the fifth before the last were there."""
    first = last = 0.0
    while running.poll() is None:
        done = num_done(out)
        now = time.monotonic()
        first = first or (now if done >= 5 else 0.0)
        last = last or (now if done >= total - 5 else 0.0)
        time.sleep(0.2)
    return first, last or time.monotonic()


def markdown(found: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Real engines, killed",
        "",
        "`python -m benchmarks.engines`; engines.json has commit, date and machine of each part. "
        "Every dataset is compared with an undisturbed run file by file, and verified.",
        "",
    ]
    rows = [(name, found[name]) for name in ("slurm-kills", "ray-kills") if name in found]
    if rows:
        lines += [
            "| engine | kills | of these | datasets | identical | verified |",
            "| --- | ---: | --- | ---: | ---: | ---: |",
            *(
                f"| {name.partition('-')[0].title()} | {sum(row['kills'].values())} "
                f"| {', '.join(f'{n} {what}' for what, n in row['kills'].items())} "
                f"| {row['datasets']} | {row['identical']} | {row['verified']} |"
                for name, row in rows
            ),
            "",
        ]
    if "slurm-cases" in found:
        lines += [
            "| on Slurm | elements by state | complete | identical | seconds | |",
            "| --- | --- | --- | --- | ---: | --- |",
        ]
        known = ("states", "complete", "identical", "verified", "seconds")
        for title, row in found["slurm-cases"]["cases"].items():
            states = ", ".join(f"{n} {state.lower()}" for state, n in row["states"].items())
            more = ", ".join(
                f"{k.replace('_', ' ')}: {v}" for k, v in row.items() if k not in known
            )
            yes = ["yes" if row[name] else "**no**" for name in ("complete", "identical")]
            lines.append(
                f"| {title} | {states} | {' | '.join(yes)} | {row['seconds']:.0f} | {more} |"
            )
        lines.append("")
    if "ray-overhead" in found:
        part = found["ray-overhead"]
        lines += [
            f"**Ray against workers of one machine**, 200 images, in turns, workers: "
            f"{part['workers']} of {part['cores']} cores: "
            f"{part['ray_over_local']:.1%} of the rate between the fifth image and the fifth "
            "before the last.",
            "",
            "| | images/s | s to the fifth image | s in all |",
            "| --- | ---: | ---: | ---: |",
            *(
                f"| {r['way']} | {r['images_per_s']} | {r['first_image_s']} | {r['seconds']} |"
                for r in part["turns"]
            ),
            "",
        ]
    if "recovery" in found:
        lines += [
            "**From a death to the next image**, with one worker, which loads its model anew:",
            "",
            "| killed | seconds |",
            "| --- | ---: |",
            *(f"| {what} | {s:g} |" for what, s in found["recovery"]["seconds"].items()),
            "",
        ]
    return "\n".join(lines)


PARTS: dict[str, Callable[[Scene, int, random.Random], dict[str, Any]]] = {
    "slurm-kills": slurm_kills,
    "slurm-cases": lambda scene, wanted, draw: {"cases": slurm_cases(scene, wanted, draw)},
    "ray-kills": ray_kills,
    "ray-overhead": ray_overhead,
    "recovery": recovery,
}


def main() -> None:
    """Run what is asked for, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    path = options.results / "engines.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    with tempfile.TemporaryDirectory() as name:
        scene = make_scene(Path(name), options.shards)
        for part in options.parts or PARTS:
            made = PARTS[part](scene, options.kills, random.Random(options.seed))
            found[part] = {
                **made,
                "commit": commit(),
                "date": today(),
                "machine": processor(),
                "load_average": load_average(),
            }
            options.results.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            (options.results / "engines.md").write_text(markdown(found), "utf-8")


if __name__ == "__main__":
    main()
