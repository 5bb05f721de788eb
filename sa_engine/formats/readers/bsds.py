"""BSDS500 ground truth: a MATLAB file per image with the partitions that several people made.

Each file holds `groundTruth`, a cell per person, each a struct with `Segmentation` (a label map
that covers the whole image, regions numbered from 1) and `Boundaries`. Source: Arbelaez et al.,
"Contour Detection and Hierarchical Image Segmentation" (TPAMI 2011), and the BSDS500 archive.

Every region of every person becomes a mask; the person is its annotator. The files name nobody, so
annotators are "1", "2", … in the order of the file. These are regions, not objects: they can cover
most of the picture, and one can be several pieces.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ImportedMask, ListedImage
from sa_engine.formats.codecs import labelmaps, matfile
from sa_engine.formats.readers.folders import FilePerImage, files_below, stem
from sa_engine.formats.reasons import Loss, Note

Partitions = list[NDArray[Any]]


class BsdsSource(FilePerImage[Partitions]):
    """A folder of `.mat` files, or one of them. See `AnnotationSource`."""

    def __init__(self, path: Path) -> None:
        super().__init__(files_below(path, (".mat",)))
        self._root = path if path.is_dir() else path.parent
        self.images = [ListedImage(f.name, any_ending=(stem(f.name),)) for f in self._files]

    @property
    def image_folder(self) -> str | None:
        """`images` beside the folder of `.mat` files, as in the archive."""
        for folder in (self._root, *self._root.absolute().parents):
            if (folder / "images").is_dir():
                return str(folder / "images")
        return None

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """The size of the first person's partition."""
        partitions = self.content(index)
        if not partitions:
            return None
        height, width = partitions[0].shape
        return height, width

    def count(self, index: int) -> int:
        """Regions of all people."""
        partitions = self.content(index)
        return 1 if partitions is None else sum(map(_num_regions, partitions))

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        partitions = self.content(index)
        if partitions is None:
            return self.unreadable(index)
        masks: list[ImportedMask] = []
        notes: list[Note] = []
        for person, labels in enumerate(partitions, start=1):
            if labels.shape != size_hw:
                notes.append(Note(Loss.IMAGE_SIZE, f"annotator {person}", _num_regions(labels)))
                continue
            masks += [
                ImportedMask(
                    segmentation=mask,
                    name=f"annotator {person}, region {region}",
                    annotator=str(person),
                    attributes={"region": region},
                )
                for region, mask in labelmaps.split(labels)
            ]
        attributes = {"num_annotators": len(partitions)}
        return ImportedImage(masks=tuple(masks), notes=tuple(notes), attributes=attributes)

    def parse(self, data: bytes) -> Partitions:
        """The label maps of all people."""
        cells = matfile.parse(data).get("groundTruth")
        if isinstance(cells, dict):
            cells = [cells]
        if not isinstance(cells, list) or not cells:
            raise AnnotationError("it has no cell array groundTruth")
        return [_label_map(cell) for cell in cells]


def _label_map(cell: object) -> NDArray[Any]:
    labels = cell.get("Segmentation") if isinstance(cell, dict) else None
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or not labels.size:
        raise AnnotationError("an annotator has no Segmentation")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (np.rint(labels) != labels).any():
            raise AnnotationError("labels are not whole numbers")
        labels = labels.astype(np.int64)
    return labels


def _num_regions(labels: NDArray[Any]) -> int:
    return int(np.count_nonzero(np.unique(labels)))
