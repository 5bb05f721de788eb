"""What many workers cost, and where the limit lies: python -m benchmarks.cluster [PART ...]

    scaling     1 to 64 worker processes of this machine on one dataset, with a stand-in for the
                model that sleeps 0.2 s an image: orchestration alone. Efficiency is the rate of W
                workers over W times that of one, from the first image to the last.
    requests    requests to an object store (a real S3 protocol server on loopback) for each shard,
                with more and more shards complete; and seconds a claim takes in a folder on a disk
    simulation  11 million images and 1,000 workers that die at random (mean 6 h), with the requests
                as measured: how long, what is made twice, how many requests a second

Written beside this script: results/cluster.json and cluster.md; a part that is not run keeps what
the file has of it.
"""

import argparse
import heapq
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.provenance import commit, load_average, processor, today
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.manifest import Manifest, open_output, read_manifest
from sa_engine.dataset.records import MaskRecord
from sa_engine.dataset.shards.claims import claim
from sa_engine.dataset.shards.stats import stats_name
from sa_engine.dataset.shards.writer import pending_shards
from sa_engine.dataset.sources.listing import Source, list_sources
from sa_engine.pipelines.run.events import ImageDone
from sa_engine.pipelines.run.one_image import Annotate, Reading
from sa_engine.pipelines.run.start import run_workers
from sa_engine.pipelines.run.worker import work
from sa_engine.pipelines.run.workers import Workers

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
IMAGE_S = 0.2
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A stand-in for a model on an accelerator: it takes its time, and none of the processor's."""

    seconds: float

    def open(self, worker: int) -> Annotate:  # noqa: ARG002 - all alike
        def annotate(_source: Source, _image: StoredImage) -> Sequence[MaskRecord]:
            time.sleep(self.seconds)
            return ()

        return annotate


class FirstAndLast:
    """When the first and the last image were done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def begin(self, total: int, done: int) -> None:
        """Nothing yet."""

    def resume(self, done: int) -> None:
        """Nothing yet."""

    def image(self, done: ImageDone) -> None:  # noqa: ARG002 - all alike
        """One more."""
        self.times.append(time.monotonic())


def write_pictures(folder: Path, count: int) -> Path:
    """Small pictures, each another file."""
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((16, 16, 3), number % 251, dtype=np.uint8)
        pixels[0, 0] = (number // 251 % 251, number // 63001, 1)
        Image.fromarray(pixels).save(folder / f"{number:06}.png", compress_level=1)
    return folder


def prepare(out: Path | str, pictures: Path, images_per_shard: int) -> Manifest:
    """A dataset that is begun."""
    sources = list_sources(str(pictures))
    manifest = Manifest(stage=None, num_images=len(sources), images_per_shard=images_per_shard)
    return open_output(out, manifest, sources)


def scaling(folder: Path, most: int) -> list[dict[str, Any]]:
    """Rates of 1, 2, 4, … workers with shards of ten images, 40 a worker or more.

    Workers do not all start at once: so many images that most are made when all are there.
    """
    rows: list[dict[str, Any]] = []
    count = 1
    while count <= most:
        pictures = write_pictures(folder / f"pictures-{count}", max(40, 2 * count) * count)
        out = folder / f"dataset-{count}"
        prepare(out, pictures, 10)
        seen = FirstAndLast()
        begun = time.monotonic()
        run_workers(
            open_folder(out),
            Sleeper(IMAGE_S),
            reading=Reading(),
            workers=Workers(count=count),
            progress=seen,
        )
        ended = time.monotonic()
        # Workers start one after another: the rate is taken where all of them work, by the middle
        # half of the images.
        quarter = len(seen.times) // 4
        middle = seen.times[3 * quarter] - seen.times[quarter]
        rows.append(
            {
                "workers": count,
                "images": len(seen.times),
                "images_per_s": round(2 * quarter / middle, 3),
                "first_image_s": round(seen.times[0] - begun, 2),
                "after_last_image_s": round(ended - seen.times[-1], 2),
            }
        )
        rows[-1]["efficiency"] = round(
            rows[-1]["images_per_s"] / count / rows[0]["images_per_s"], 3
        )
        print(rows[-1], flush=True)
        count *= 2
    return rows


class CountingServer:
    """A server of the S3 protocol on loopback that counts requests by kind."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.counts: Counter[str] = Counter()
        application = DomainDispatcherApplication(create_backend_app)

        def counted(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            is_list = environ["REQUEST_METHOD"] == "GET" and "list-type" in environ["QUERY_STRING"]
            self.counts["LIST" if is_list else environ["REQUEST_METHOD"]] += 1
            answer: Iterable[bytes] = application(environ, start)
            return answer

        self._server = make_server("127.0.0.1", 0, counted, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()


def requests(folder: Path, sizes: Sequence[int], made: int) -> list[dict[str, Any]]:
    """Requests for each of the last `made` shards of datasets of more and more shards."""
    import logging
    import os

    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = CountingServer()
    os.environ |= {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SA_ENGINE_CACHE": str(folder / "cache"),
    }
    store = boto3.client("s3")
    store.create_bucket(Bucket="bench")
    rows = []
    for size in sizes:
        pictures = write_pictures(folder / f"stored-{size}", size)
        name = f"dataset-{size}"
        prepare(f"s3://bench/{name}", pictures, 1)
        for index in range(size - made):
            stem = stats_name(index).removesuffix("_stats.json")
            for ending in ("_stats.json", ".tar", ".parquet"):
                store.put_object(Bucket="bench", Key=f"{name}/{stem}{ending}", Body=b"")
        server.counts.clear()
        begun = time.monotonic()
        work(
            open_folder(f"s3://bench/{name}"),
            Sleeper(0),
            reading=Reading(keep_images=False),
            report=lambda _: None,
            stop=lambda: False,
        )
        each = {kind: round(count / made, 2) for kind, count in sorted(server.counts.items())}
        rows.append(
            {
                "shards": size,
                "requests_a_shard": each,
                "seconds_a_shard": round((time.monotonic() - begun) / made, 3),
            }
        )
        print(rows[-1], flush=True)
    server.stop()
    return rows


def claims_on_disk(folder: Path, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Seconds to see what is left and to claim a shard of it, in a folder on a disk."""
    rows = []
    pictures = write_pictures(folder / "one", 1)
    (source,) = list_sources(str(pictures))
    for size in sizes:
        out = folder / f"disk-{size}"
        sources = [Source(source.uri, f"{number:07}.png") for number in range(size)]
        manifest = Manifest(stage=None, num_images=size, images_per_shard=1)
        open_output(out, manifest, sources)
        for index in range(size - 20):
            stem = stats_name(index).removesuffix("_stats.json")
            for ending in ("_stats.json", ".tar", ".parquet"):
                (out / f"{stem}{ending}").touch()
        here = open_folder(out)
        stored = read_manifest(here)
        seconds = []
        for index in range(size - 20, size):
            begun = time.monotonic()
            assert index in pending_shards(here.url, stored)
            lease = claim(here.url, index)
            seconds.append(time.monotonic() - begun)
            assert lease is not None
            lease.release()
        rows.append({"shards": size, "median_s": round(float(np.median(seconds)), 4)})
        print(rows[-1], flush=True)
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What is simulated.

    images, images_per_shard, workers: as they are called.
    image_s: seconds an image takes. mean_life_s: of a worker until it dies, exponentially
    distributed. back_s: until another stands in its place, its model loaded. stale_s: until its
    shard may be taken up. keeps: whether the successor finds the images that were finished (a
    shared folder) or begins the shard anew (an object store alone).
    """

    images: int = 11_000_000
    images_per_shard: int = 1000
    workers: int = 1000
    image_s: float = 4.0
    mean_life_s: float = 6 * HOUR
    back_s: float = 180.0
    stale_s: float = 60.0
    keeps: bool = True


def simulate(cluster: Cluster, *, seed: int = 0) -> dict[str, Any]:
    """The run's hours, images made twice, deaths, and the most claims in any minute."""
    rng = random.Random(seed)
    total = -(-cluster.images // cluster.images_per_shard)
    free = [(0.0, index, cluster.images_per_shard) for index in range(total)]  # from, shard, left
    heapq.heapify(free)
    events = [(0.0, worker) for worker in range(cluster.workers)]
    heapq.heapify(events)
    life = [rng.expovariate(1 / cluster.mean_life_s) for _ in range(cluster.workers)]
    finished = deaths = twice = 0
    idle = 0.0
    end = 0.0
    claims: Counter[int] = Counter()
    while finished < total:
        now, worker = heapq.heappop(events)
        if not free:
            # All that is left is in other hands: with --no-wait it ends here. A shard that is lost
            # later finds a worker that the scheduler starts in the lost one's place.
            idle += max(0.0, end - now)
            continue
        begun, shard, left = heapq.heappop(free)
        start = max(now, begun)
        claims[int(start // 60)] += 1
        needs = left * cluster.image_s
        if start + needs <= life[worker]:
            finished += 1
            end = max(end, start + needs)
            heapq.heappush(events, (start + needs, worker))
            continue
        died = max(start, life[worker])
        deaths += 1
        done = int((died - start) / cluster.image_s)
        kept = done if cluster.keeps else 0
        twice += 1 + done - kept
        again = cluster.images_per_shard if not cluster.keeps else left - kept
        heapq.heappush(free, (died + cluster.stale_s, shard, again))
        back = died + cluster.back_s
        life[worker] = back + rng.expovariate(1 / cluster.mean_life_s)
        heapq.heappush(events, (back, worker))
    ideal = cluster.images * cluster.image_s / cluster.workers
    return {
        "hours": round(end / HOUR, 2),
        "over_ideal": round(end / ideal - 1, 4),
        "deaths": deaths,
        "images_made_twice": twice,
        "most_claims_a_minute": max(claims.values()),
        "mean_claims_a_second": round(sum(claims.values()) / end, 3),
    }


def simulation(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Shards of several sizes, with a shared folder and with an object store alone.

    measured: rows of `requests`; of what they count only LIST grows with the shards.
    """
    few, many = measured[0], measured[-1]
    slope = (
        (many["requests_a_shard"]["LIST"] - few["requests_a_shard"]["LIST"])
        / (many["shards"] - few["shards"])
        if many["shards"] > few["shards"]
        else 0.0
    )
    rows = []
    for images_per_shard in (100, 300, 1000, 3000):
        for keeps in (True, False):
            cluster = Cluster(images_per_shard=images_per_shard, keeps=keeps)
            found = simulate(cluster)
            row = {"images_per_shard": images_per_shard, "shared_folder": keeps, **found}
            if not keeps:
                # On average half of the shards are there to be listed.
                shards = cluster.images / images_per_shard
                fixed = sum(few["requests_a_shard"].values())
                a_claim = fixed + slope * shards / 2
                row["requests_a_claim"] = round(a_claim, 1)
                heart = 3 * cluster.workers / 10
                row["requests_a_second"] = round(a_claim * found["mean_claims_a_second"] + heart, 1)
            rows.append(row)
            print(row, flush=True)
    return rows


def markdown(found: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Many workers on one dataset",
        "",
        "`python -m benchmarks.cluster`; cluster.json has commit, date and machine of each part.",
        "",
    ]
    if "scaling" in found:
        part = found["scaling"]
        lines += [
            f"**Scaling**, {part['machine']}: worker processes of one machine, a stand-in for the "
            f"model that sleeps {IMAGE_S} s an image, shards of 10 images. The rate is that of the "
            "middle half of the images, where all workers work.",
            "",
            "| workers | images/s | efficiency | s to the first image | s after the last |",
            "| ---: | ---: | ---: | ---: | ---: |",
            *(
                f"| {r['workers']} | {r['images_per_s']} | {r['efficiency']:.0%} "
                f"| {r['first_image_s']} | {r['after_last_image_s']} |"
                for r in part["rows"]
            ),
            "",
        ]
    if "requests" in found:
        part = found["requests"]
        kinds = sorted({kind for r in part["rows"] for kind in r["requests_a_shard"]})
        lines += [
            f"**Requests to an object store for each shard** of one image, {part['machine']}, "
            "a server of the S3 protocol on loopback; all shards but the last are complete:",
            "",
            f"| shards | {' | '.join(kinds)} |",
            f"| ---: |{' ---: |' * len(kinds)}",
            *(
                f"| {r['shards']:,} | "
                + " | ".join(f"{r['requests_a_shard'].get(kind, 0):g}" for kind in kinds)
                + " |"
                for r in part["rows"]
            ),
            "",
            "**Seconds to see what is left and claim a shard of it** in a folder on a local disk: "
            + ", ".join(f"{r['median_s']:g} with {r['shards']:,} shards" for r in part["disk"])
            + ".",
            "",
        ]
    if "simulation" in found:
        cluster = Cluster()
        lines += [
            f"**Simulated:** {cluster.images:,} images of {cluster.image_s:g} s, "
            f"{cluster.workers:,} workers with a mean life of {cluster.mean_life_s / HOUR:g} h, "
            f"another in place of a dead one after {cluster.back_s:g} s. In a shared folder a "
            "successor finds the images that were finished; with an object store alone it begins "
            "the shard anew. Requests as measured above, and 3 every 10 s for each claim held.",
            "",
            "| images a shard | | hours | over the ideal | deaths | images made twice "
            "| claims/s | requests/s |",
            "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(
                f"| {r['images_per_shard']:,} "
                f"| {'shared folder' if r['shared_folder'] else 'object store'} | {r['hours']} "
                f"| {r['over_ideal']:.1%} | {r['deaths']:,} | {r['images_made_twice']:,} "
                f"| {r['mean_claims_a_second']} | {r.get('requests_a_second', '–')} |"
                for r in found["simulation"]["rows"]
            ),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = ("scaling", "requests", "simulation")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--most", type=int, default=64, help="workers of the scaling")
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    path = options.results / "cluster.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for part in options.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            made: dict[str, Any]
            if part == "scaling":
                made = {"rows": scaling(Path(folder), options.most)}
            elif part == "requests":
                made = {
                    "rows": requests(Path(folder), options.shards, 10),
                    "disk": claims_on_disk(Path(folder), [100, 1000, 10_000, 100_000]),
                }
            else:
                made = {"rows": simulation(found["requests"]["rows"])}
        found[part] = {
            **made,
            "commit": commit(),
            "date": today(),
            "machine": processor(),
            "load_average": load_average(),
        }
        options.results.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        (options.results / "cluster.md").write_text(markdown(found), "utf-8")


if __name__ == "__main__":
    main()
