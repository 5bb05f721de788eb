"""What a run adds to the bare generator: reading, decoding, checksums, writing, journals."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa_engine.automask.generator import MaskGenerator
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.images.reading import DEFAULT_MAX_PIXELS, StoredImage, read_image
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.dataset.sources.listing import Source
from sa_engine.pipelines.run.start import run_here
from sa_engine.pipelines.run.worker import Annotate, Reading


@dataclass(frozen=True, slots=True)
class Ready:
    """An annotator whose model is loaded already: loading is no part of what an image costs."""

    generator: MaskGenerator

    def open(self, worker: int) -> Annotate:  # noqa: ARG002
        """The function from an image to its masks."""

        def annotate(_source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            return self.generator.generate(image.rgb_HW3)

        return annotate


def overhead(generator: MaskGenerator, paths: Sequence[str], repeats: int) -> dict[str, Any]:
    """Seconds of the bare generator over decoded images, and of whole runs, in turn."""
    images = [
        read_image(Path(path).read_bytes(), max_pixels=DEFAULT_MAX_PIXELS).rgb_HW3 for path in paths
    ]
    generator.generate(images[0])
    bare, whole = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        for image in images:
            generator.generate(image)
        bare.append(time.perf_counter() - begin)
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            _run(generator, paths, Path(folder) / "dataset")
            whole.append(time.perf_counter() - begin)
    return {
        "images": len(paths),
        "bare_seconds": bare,
        "whole_seconds": whole,
        "overhead": statistics.median(whole) / statistics.median(bare) - 1,
        "seconds": sum(bare) + sum(whole),
    }


def _run(generator: MaskGenerator, paths: Sequence[str], out: Path) -> None:
    sources = [Source(uri=path, name=Path(path).name) for path in paths]
    manifest = Manifest(
        stage=Stage.AUTOMATIC,
        model=None,
        options={},
        num_images=len(sources),
        images_per_shard=1000,
    )
    open_output(out, manifest, sources)
    run_here(open_folder(out), Ready(generator), reading=Reading())
