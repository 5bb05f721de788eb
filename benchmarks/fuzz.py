"""Coverage-guided fuzzing of everything that reads bytes from elsewhere.

    python benchmarks/fuzz.py --seconds 60 --out benchmarks/results/fuzz.json

Needs atheris (`pip install atheris`). Each target runs in a process of its own, from valid files as
seeds, and may answer bytes with its own errors alone: any other exception, a process that dies, an
input that takes over 20 s, or a broken promise about the result is a finding. Findings are told
apart by where they were raised, and the first input of each is in the result.
"""

import argparse
import base64
import contextlib
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

INPUT_S = 20
MEMORY_MIB = 3000
IMPORTERS = (
    "coco", "labelme", "cvat", "label-studio", "yolo-seg", "datumaro", "sa-1b", "masks", "voc",
    "davis", "bsds",
)  # fmt: skip
TARGETS = (
    "rle", "json", "sealed", "annotations", "inputs-parquet", "image", "tar", "list", "brush",
    "format", *IMPORTERS,
)  # fmt: skip

Check = Callable[[bytes], None]


class BrokenPromise(Exception):  # noqa: N818 - what happened, in words
    """A result that is not what was promised."""


@dataclass(frozen=True, slots=True)
class Target:
    """check: reads bytes; raises only what is a finding. seeds: valid bytes to begin with."""

    check: Check
    seeds: list[bytes]


def expect(holds: bool, promise: str) -> None:
    if not holds:
        raise BrokenPromise(promise)


def rle_target(_: Path) -> Target:
    import numpy as np

    from sa_engine.masks import rle

    def check(data: bytes) -> None:
        if len(data) < 2:
            return
        size_hw = (data[0] % 40 + 1, data[1] % 40 + 1)
        try:
            coded = rle.Rle(size_hw, data[2:].decode("latin-1"))
            mask = rle.decode(coded)
        except ValueError:
            return
        expect(mask.shape == size_hw, "a mask has its size")
        expect(rle.area(coded) == int(mask.sum()), "area counts pixels")
        again = rle.encode(mask)
        expect(bool((rle.decode(again) == mask).all()), "encode undoes decode")
        expect(int(rle.runs(coded).sum()) == mask.size, "runs fill the mask")
        window, (left, top) = rle.decode_window(coded)
        whole = np.zeros(size_hw, dtype=bool)
        whole[top : top + window.shape[0], left : left + window.shape[1]] = window
        expect(bool((whole == mask).all()), "a window holds the mask")
        expect(rle.bbox_xywh(coded) == rle.bbox_xywh(again), "boxes do not depend on spelling")

    rng = np.random.default_rng(0)
    seeds = []
    for density in (0.0, 0.1, 0.5, 1.0):
        mask = rng.random((9, 7)) < density
        seeds.append(bytes([8, 6]) + rle.encode(mask).counts.encode("ascii"))
    return Target(check, seeds)


def json_target(folder: Path) -> Target:
    from sa_engine.errors import AnnotationError
    from sa_engine.formats.codecs.jsonfile import JsonFile
    from tests.formats import test_damage

    path = folder / "file.json"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            found = [(e.key, e.in_array, e.value) for e in JsonFile(path).elements()]
        except AnnotationError:
            return
        try:
            content = json.loads(data, object_pairs_hook=_without_repetition)
        except (ValueError, RecursionError):
            return
        expect(repr(found) == repr(list(_elements(content))), "elements are those of the file")

    samples = [json.dumps(sample).encode() for sample in test_damage.JSON_SAMPLES.values()]
    return Target(check, [*samples, b'{"a":[1,2.5e3,"\\u00e4"],"b":{},"c":[]}', b"[[],{},null]"])


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name twice: the two readers may differ")
    return dict(pairs)


def _elements(content: Any) -> Iterator[tuple[str, bool, Any]]:
    members = content.items() if isinstance(content, dict) else [("", content)]
    for key, value in members:
        if isinstance(value, list):
            yield from ((key, True, each) for each in value)
        else:
            yield key, False, value


def sealed_target(_: Path) -> Target:
    from sa_engine.dataset.folder.sealed import seal, unseal
    from sa_engine.errors import DamagedError

    def check(data: bytes) -> None:
        with contextlib.suppress(DamagedError):
            expect(seal(unseal(data, name="file")) == data, "what is whole is as it was sealed")

    return Target(check, [seal({"a": [1, 2], "b": {"c": None}}), seal({})])


def annotations_target(_: Path) -> Target:
    from sa_engine.dataset.shards import sa1b_json
    from tests.dataset.conftest import image_record

    def check(data: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            sa1b_json.decode_annotations(data)

    return Target(
        check, [sa1b_json.encode(image_record(1, 1)[0]), sa1b_json.encode(image_record(9, 2)[0])]
    )


def inputs_target(folder: Path) -> Target:
    from sa_engine.dataset.folder.base import LocalFolder
    from sa_engine.dataset.sources.frozen import INPUTS_NAME, FrozenInputs, freeze
    from sa_engine.dataset.sources.source_list import Source
    from sa_engine.errors import DamagedError

    place = LocalFolder(folder)
    freeze(place, [Source(f"/p/{k}.jpg", f"{k}.jpg") for k in range(5)], images_per_shard=2)
    seed = (folder / INPUTS_NAME).read_bytes()

    def check(data: bytes) -> None:
        (folder / INPUTS_NAME).write_bytes(data)
        with contextlib.suppress(DamagedError):
            frozen = FrozenInputs(place)
            if len(frozen) < 1000:
                list(frozen.all())

    return Target(check, [seed])


def image_target(_: Path) -> Target:
    import io

    import numpy as np
    from PIL import Image

    from sa_engine.dataset.images.reading import read_image, read_size_hw
    from sa_engine.errors import ImageError

    def check(data: bytes) -> None:
        try:
            image = read_image(data, max_pixels=1 << 18, shortest_side=64)
        except ImageError as error:
            expect(bool(error.reason), "a failure has a reason")
            return
        expect(image.rgb_HW3.dtype == np.uint8 and image.rgb_HW3.ndim == 3, "pixels are RGB")
        expect(read_size_hw(image.data) == image.size_hw, "what is stored has the size of pixels")

    rng = np.random.default_rng(0)
    seeds = []
    for name in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"):
        for mode in ("RGB", "L"):
            picture = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).convert(mode)
            buffer = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            options = {"exif": exif} if name in ("PNG", "JPEG", "WEBP", "TIFF") else {}
            picture.save(buffer, name, **options)
            seeds.append(buffer.getvalue())
    return Target(check, seeds)


def tar_target(folder: Path) -> Target:
    import io
    import tarfile

    from sa_engine.dataset.sources.listing import list_sources, read_source_bytes
    from sa_engine.errors import ImageError, UsageError

    path = folder / "file.tar"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            listed = list_sources(path)
        except UsageError:
            return
        for source in listed:
            parts = source.name.partition("!")[2].split("/")
            expect(not {"", ".", ".."} & set(parts), "a member's name stays in its folder")
            with contextlib.suppress(ImageError):
                read_source_bytes(source, max_bytes=1 << 20)

    seeds = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
            for name in ("a.jpg", "../b.png", "ä/" + "long" * 18 + ".jpg"):
                info = tarfile.TarInfo(name)
                info.size = 5
                archive.addfile(info, io.BytesIO(b"bytes"))
        seeds.append(buffer.getvalue())
    return Target(check, seeds)


def list_target(folder: Path) -> Target:
    from sa_engine.dataset.sources.listing import list_sources
    from sa_engine.errors import UsageError

    path = folder / "list.txt"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(UsageError):
            listed = list_sources(path)
            lines = {
                line.removesuffix(b"\r")
                for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
                if line.strip()
            }
            expect(len(listed) == len(lines), "each line counts once")
            [source.uri for source in listed]

    return Target(check, [b"a.jpg\r\n/b/c.png\n\n", b"\xef\xbb\xbf\xff.jpg\ns3://b/c.jpg"])


def brush_target(_: Path) -> Target:
    import numpy as np

    from sa_engine.formats.codecs import brush

    def check(data: bytes) -> None:
        if len(data) < 2:
            return
        size_hw = (data[0] % 30 + 1, data[1] % 30 + 1)
        with contextlib.suppress(ValueError):
            expect(brush.decode(data[2:], size_hw).shape == size_hw, "a mask has its size")

    mask = np.zeros((9, 7), dtype=bool)
    mask[2:5, 1:6] = True
    return Target(check, [bytes([8, 6]) + brush.encode(mask)])


def format_target(folder: Path) -> Target:
    from sa_engine.errors import UsageError
    from sa_engine.formats.detect import detect_format
    from tests.formats import test_damage

    endings = (".json", ".xml", ".mat", ".tar", ".png", ".txt")

    def check(data: bytes) -> None:
        path = folder / f"file{endings[data[0] % len(endings) if data else 0]}"
        path.write_bytes(data[1:])
        try:
            kind = detect_format(path)
        except UsageError:
            return
        else:
            test_damage.use(path, kind)
        finally:
            path.unlink()

    samples = [json.dumps(sample).encode() for sample in test_damage.JSON_SAMPLES.values()]
    return Target(check, [b"\0" + sample for sample in samples])


def importer_target(name: str) -> Callable[[Path], Target]:
    def make(folder: Path) -> Target:
        from sa_engine.formats.registry import Format
        from tests.formats import test_damage

        kind = Format(name)
        write, file_name = test_damage.FILES[kind]
        write(folder)
        path = folder / file_name
        single = kind in test_damage.JSON_SAMPLES or kind is Format.CVAT

        def check(data: bytes) -> None:
            path.write_bytes(data)
            test_damage.use(path if single else folder, kind)

        return Target(check, [path.read_bytes()])

    return make


MAKERS: dict[str, Callable[[Path], Target]] = {
    "rle": rle_target,
    "json": json_target,
    "sealed": sealed_target,
    "annotations": annotations_target,
    "inputs-parquet": inputs_target,
    "image": image_target,
    "tar": tar_target,
    "list": list_target,
    "brush": brush_target,
    "format": format_target,
    **{name: importer_target(name) for name in IMPORTERS},
}


def fuzz_one(name: str, folder: Path, seconds: float) -> None:
    """Fuzz a target in this process, which does not come back. Findings go to a file of lines."""
    import atheris

    with atheris.instrument_imports(include=["sa_engine"]):
        target = MAKERS[name](_made(folder / "files"))
    seen: set[str] = set()
    findings = (folder / "findings").open("a")

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except Exception as error:  # Whatever it is, it is a finding.
            where = _where(error)
            if where not in seen:
                seen.add(where)
                line = {
                    "where": where,
                    "error": f"{type(error).__name__}: {str(error)[:200]}",
                    "input_base64": base64.b64encode(data).decode("ascii"),
                }
                findings.write(json.dumps(line) + "\n")
                findings.flush()

    for place, seed in enumerate(target.seeds):
        (_made(folder / "corpus") / f"seed{place}").write_bytes(seed)
        # A target that takes its own seeds for findings tests nothing.
        target.check(seed)
    tokens = {t for seed in target.seeds for t in re.findall(rb'"[A-Za-z_]{2,20}"|<[a-z]+', seed)}
    (folder / "dict").write_text(
        "".join(
            '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n' for token in sorted(tokens)
        )
    )
    options = [
        f"-max_total_time={int(seconds)}", f"-timeout={INPUT_S}", f"-rss_limit_mb={MEMORY_MIB}",
        "-max_len=20000", "-print_final_stats=1", f"-artifact_prefix={folder}/died-", "-seed=1",
    ]  # fmt: skip
    if tokens:
        options.append(f"-dict={folder / 'dict'}")
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], check)
    atheris.Fuzz()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _where(error: BaseException) -> str:
    """The innermost line of ours that the error came through, and what it was."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename
    ]
    place = frames[-1]
    name = Path(place.filename).relative_to(ROOT).as_posix()
    return f"{type(error).__name__} at {name}:{place.lineno}"


def run_target(name: str, seconds: float) -> dict[str, Any]:
    """Fuzz a target in a process of its own and say what came of it."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        done = subprocess.run(
            [
                sys.executable,
                __file__,
                "--target",
                name,
                "--folder",
                text,
                "--seconds",
                str(seconds),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
        )
        lines = folder / "findings"
        findings = (
            [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        )
        findings += [
            {
                "where": path.name.partition("-")[2].partition("-")[0],
                "error": "the process ended",
                "input_base64": base64.b64encode(path.read_bytes()).decode("ascii"),
            }
            for path in sorted(folder.glob("died-*"))
        ]
        if done.returncode and not findings:
            findings.append({"where": "start", "error": done.stderr[-2000:], "input_base64": ""})
    runs = re.search(r"stat::number_of_executed_units: *(\d+)", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    return {
        "target": name,
        "seconds": round(time.monotonic() - started, 1),
        "inputs": int(runs[1]) if runs else None,
        "branches_at_start": int(coverage[0]) if coverage else None,
        "branches": int(coverage[-1]) if coverage else None,
        "findings": findings,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each target")
    parser.add_argument("--target", choices=TARGETS, help="this one alone")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()
    if options.folder is not None:
        fuzz_one(options.target, options.folder, options.seconds)
    results = []
    for name in [options.target] if options.target else TARGETS:
        results.append(run_target(name, options.seconds))
        shown = {**results[-1], "findings": [f["where"] for f in results[-1]["findings"]]}
        sys.stdout.write(json.dumps(shown) + "\n")
        sys.stdout.flush()
    from benchmarks.provenance import commit, today

    report = {
        "what": "coverage-guided fuzzing; branches are those of sa_engine's Python code",
        "commit": commit(),
        "date": today(),
        "python": platform.python_version(),
        "atheris": importlib.metadata.version("atheris"),
        "num_inputs": sum(result["inputs"] or 0 for result in results),
        "num_findings": sum(len(result["findings"]) for result in results),
        "targets": results,
    }
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(1 if report["num_findings"] else 0)


if __name__ == "__main__":
    main()
