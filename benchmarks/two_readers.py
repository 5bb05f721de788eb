"""Every image of a corpus read twice: by the engine, and by readers that share no code with it.

The corpus is made here: TIFF in every layout that tifffile writes, the other formats in their
depths and colours, turned files, and files with changed bytes. Other folders can be given as well.
What the engine accepts must be what the other reader sees; what it refuses has its reason.

    python -m benchmarks.two_readers [FOLDER ...] [--flips 20] [--out results/two_readers.json]

Prints counts, then a line for each disagreement, and exits 1 if there is one.
"""

import argparse
import io
import itertools
import json
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import PIL
import tifffile
from numpy.typing import NDArray
from PIL import Image

from benchmarks.provenance import commit, today
from sa_engine.dataset.images.pixels import values_to_rgb
from sa_engine.dataset.images.reading import read_image
from sa_engine.errors import ImageError

SIDE_WH = (64, 48)
CLOSE = {"jpg": 12.0, "webp": 12.0, "avif": 12.0, "jp2": 4.0}
"""Mean difference that two decoders of a lossy format may have (chroma sampling, rounding)."""
ROUNDING = 1.0
STORED_AGAIN = 14.0


def main() -> int:
    """Read everything twice and say where the two differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="further images, searched through")
    parser.add_argument("--flips", type=int, default=20, help="damaged copies of each made file")
    parser.add_argument("--out", type=Path, help="a JSON file for the counts")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for name, data in itertools.chain(made(arguments.flips), found(arguments.folders)):
        verdict = compare(name, data)
        counts[verdict.partition(":")[0]] += 1
        if verdict.startswith("DISAGREE"):
            faults.append(f"{name}: {verdict}")
    for verdict, count in sorted(counts.items()):
        print(f"{count:6} {verdict}")
    print("\n".join(faults) if faults else "no disagreement")
    if arguments.out is not None:
        modules = (np, PIL, cv2, tifffile, imagecodecs)
        versions = {module.__name__: module.__version__ for module in modules}
        content = {
            "commit": commit(),
            "date": today(),
            "versions": versions,
            "counts": counts,
            "disagreements": faults,
        }
        arguments.out.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return 1 if faults else 0


def compare(name: str, data: bytes) -> str:
    """ "agree", "refused (reason)", "one reader alone", or "DISAGREE: how"."""
    try:
        image = read_image(data)
    except ImageError as error:
        return f"refused ({error.reason})"
    try:
        other = upright(other_reader(data, image.extension), image.orientation)
    except Exception as error:  # The other reader's refusals have no common class.
        if "~" in name:
            return f"DISAGREE: accepted, and the other reader refuses ({error!s:.60})"
        return f"accepted by the engine alone ({image.extension})"
    if other is None:
        return f"accepted by the engine alone ({image.extension})"
    if other.shape != image.rgb_HW3.shape:
        return f"DISAGREE: {image.rgb_HW3.shape} here, {other.shape} there"
    # A turned file is stored again, at the quality of its format.
    limit = STORED_AGAIN if image.orientation != 1 else CLOSE.get(image.extension, ROUNDING)
    apart = np.abs(image.rgb_HW3.astype(int) - other).mean()
    return "agree" if apart <= limit else f"DISAGREE: by {apart:.1f} of 255 on average"


def other_reader(data: bytes, kind: str) -> NDArray[np.uint8] | None:
    """(H, W, 3) uint8 as stored, by a reader that is not the engine's."""
    match kind:
        case "tif":
            return _tiff(data)
        case "png":
            values = imagecodecs.png_decode(data)
            return None if data[25] == 3 or data[24] < 8 else _rgb(values)
        case "jpg":
            values = imagecodecs.jpeg8_decode(data)
            return None if values.ndim == 3 and values.shape[2] == 4 else _rgb(values)
        case "webp":
            return _rgb(imagecodecs.webp_decode(data))
        case "jp2":
            values = imagecodecs.jpeg2k_decode(data)
            # Which four (CMYK or transparency) is not told.
            return None if values.ndim == 3 and values.shape[2] == 4 else _rgb(values)
        case "avif":
            return _rgb(imagecodecs.avif_decode(data))
        case "qoi":
            return _rgb(imagecodecs.qoi_decode(data))
        case "bmp" | "ppm":
            seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if seen is None:
                raise ValueError("OpenCV cannot read it")
            return _rgb(seen[:, :, ::-1] if seen.ndim == 3 else seen)
    return None


def _tiff(data: bytes) -> NDArray[np.uint8] | None:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages[0]
        values = np.asarray(page.asarray())
        name = page.photometric.name
        if name in ("PALETTE", "SEPARATED", "CIELAB") or (name == "YCBCR" and page.compression < 6):
            return None
        if page.planarconfig == 2 and values.ndim == 3:
            values = np.moveaxis(values, 0, -1)
        if page.bitspersample < 8:
            values = values.astype(np.uint8) * (255 // ((1 << page.bitspersample) - 1))
        rgb = _rgb(values)
        return 255 - rgb if name == "MINISWHITE" else rgb


def _rgb(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if values.ndim == 3:
        values = values[:, :, :3] if values.shape[2] >= 3 else values[:, :, 0]
    if values.dtype != np.uint8:
        return values_to_rgb(values)[0]
    return np.repeat(values[:, :, None], 3, axis=2) if values.ndim == 2 else values


def upright(values: NDArray[np.uint8] | None, orientation: int) -> NDArray[np.uint8] | None:
    """Turned with OpenCV's own words for it."""
    if values is None or orientation == 1:
        return values
    flips = {2: 1, 3: -1, 4: 0}
    if orientation in flips:
        return np.asarray(cv2.flip(values, flips[orientation]), np.uint8)
    across = cv2.transpose(values)
    flip = {5: None, 6: 1, 7: -1, 8: 0}[orientation]
    return np.asarray(across if flip is None else cv2.flip(across, flip), np.uint8)


def found(folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    """The files of some folders."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield str(path), path.read_bytes()


def made(flips: int) -> Iterator[tuple[str, bytes]]:
    """The corpus; damaged copies have a ~ in their names."""
    rng = np.random.default_rng(0)
    for name, data in itertools.chain(tiffs(), others(), turned_files()):
        yield name, data
        for turn in range(flips if not name.startswith("tiff ") or rng.random() < 0.1 else 0):
            damaged = bytearray(data)
            for place in rng.integers(len(data) // 8, len(data), 2):
                damaged[place] ^= 1 << int(rng.integers(8))
            if "png" in name:  # whose checksums tell; of others any byte can be a true pixel
                yield f"{name} ~{turn}", bytes(damaged)


def picture(channels: int = 3) -> NDArray[np.float64]:
    """Smooth values, 0..255, that tell rows, columns and channels apart."""
    y, x = np.mgrid[: SIDE_WH[1], : SIDE_WH[0]]
    layers = [(2 * x + 40 * k + (1 + k) * y) / 4 % 200 + 10 * k for k in range(channels)]
    values: NDArray[np.float64] = np.clip(np.stack(layers, axis=-1), 0, 255)
    return values


def _as(values: NDArray[np.float64], kind: str) -> NDArray[Any]:
    if kind == "uint12":
        return (values * 16).astype(np.uint16)
    if kind.startswith("float"):
        return (values / 255).astype(kind)
    scale = {"uint16": 257, "int16": 100, "uint32": 200, "int32": 200, "int8": 0.5}.get(kind, 1)
    return (values * scale).astype(kind)


def tiffs() -> Iterator[tuple[str, bytes]]:
    """Kinds of number, channels, planes, compression, byte order, tiles, photometric."""
    kinds = ("uint8", "uint12", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32")
    ways = itertools.product(
        (*kinds, "float64"),
        (1, 2, 3, 4, 5),
        ("contig", "separate"),
        (None, "deflate", "lzw", "packbits", "zstd"),
        "<>",
        (None, (16, 16)),
    )
    for kind, channels, planar, compression, order, tile in ways:
        values = _as(picture(channels), kind)
        values = values[..., 0] if channels == 1 else values
        if planar == "separate":
            if channels == 1:
                continue
            values = np.moveaxis(values, -1, 0)
        for photometric in ("rgb",) if channels >= 3 else ("minisblack", "miniswhite"):
            name = f"tiff {kind} x{channels} {planar} {compression} {order} {tile} {photometric}"
            buffer = io.BytesIO()
            try:
                tifffile.imwrite(
                    buffer,
                    values,
                    photometric=photometric,
                    planarconfig=None if channels == 1 else planar,
                    compression=compression,
                    predictor=compression in ("deflate", "lzw") and order == "<",
                    byteorder="<" if order == "<" else ">",
                    tile=tile,
                    metadata=None,
                )
            except (ValueError, TypeError, NotImplementedError):
                continue
            yield name, buffer.getvalue()


def others() -> Iterator[tuple[str, bytes]]:
    """Formats that Pillow and imagecodecs write, in their depths."""
    eight, sixteen, twelve = _as(picture(), "uint8"), _as(picture(), "uint16"), picture() * 16
    for mode in ("RGB", "L", "P", "1", "LA", "RGBA", "CMYK"):
        for form in ("PNG", "JPEG", "WEBP", "BMP", "PPM", "QOI", "JPEG2000", "AVIF", "GIF", "TIFF"):
            for options in ({}, {"progressive": True}) if form == "JPEG" else ({},):
                buffer = io.BytesIO()
                try:
                    Image.fromarray(eight).convert(mode).save(buffer, form, **options)
                except (OSError, KeyError, ValueError):
                    continue
                yield f"{form.lower()} {mode} {options}", buffer.getvalue()
    for depth, values in (("16", sixteen), ("12", twelve.astype(np.uint16))):
        for channels in (1, 2, 3, 4):
            each = values[..., 0] if channels == 1 else values[..., [0, 1, 2, 2][:channels]]
            yield (
                f"png {depth} bits x{channels}",
                bytes(imagecodecs.png_encode(np.ascontiguousarray(each))),
            )
            if channels in (1, 3):
                each = np.ascontiguousarray(each)
                coded_jp2 = bytes(imagecodecs.jpeg2k_encode(each, level=0))
                yield f"jp2 {depth} bits x{channels}", coded_jp2
                ok, coded = cv2.imencode(
                    ".ppm" if channels == 3 else ".pgm", each[..., ::-1] if channels == 3 else each
                )
                yield f"ppm {depth} bits x{channels}", coded.tobytes() if ok else b""


def turned_files() -> Iterator[tuple[str, bytes]]:
    """Every orientation of every format that states one."""
    eight = Image.fromarray(_as(picture(), "uint8"))
    for form, exif in itertools.product(("JPEG", "PNG", "WEBP", "TIFF", "AVIF"), range(2, 9)):
        tags = Image.Exif()
        tags[0x112] = exif
        buffer = io.BytesIO()
        eight.save(buffer, form, exif=tags if form in ("PNG", "TIFF") else tags.tobytes())
        yield f"{form.lower()} orientation {exif}", buffer.getvalue()
    for exif, channels, planar in itertools.product(range(2, 9), (1, 3), ("contig", "separate")):
        values = _as(picture(channels), "uint16")
        values = values[..., 0] if channels == 1 else values
        if planar == "separate":
            values = np.moveaxis(values, -1, 0) if channels > 1 else values
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer,
            values,
            photometric="rgb" if channels == 3 else "minisblack",
            planarconfig=planar if channels == 3 else None,
            extratags=[(274, 3, 1, exif, True)],
            metadata=None,
        )
        yield f"tiff orientation {exif} x{channels} {planar}", buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
