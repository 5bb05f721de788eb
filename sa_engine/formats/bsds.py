"""BSDS500 ground truth: a MATLAB file per image with the partitions that several people made.

Each file holds `groundTruth`, a cell per person, each a struct with `Segmentation` (a label map
that covers the whole image, regions numbered from 1) and `Boundaries`. Source: Arbelaez et al.,
"Contour Detection and Hierarchical Image Segmentation" (TPAMI 2011), and the BSDS500 archive.

Every region of every person becomes a mask; the person is its annotator. The files name nobody, so
annotators are "1", "2", … in the order of the file. These are regions, not objects: they can cover
most of the picture, and one can be several pieces.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sa_engine.errors import AnnotationError
from sa_engine.formats import labelmaps, matfile
from sa_engine.formats.base import ImportedImage, ImportedMask, ListedImage, Loss, Note
from sa_engine.formats.folders import files_below


class BsdsSource:
    """A folder of `.mat` files, or one of them. See `AnnotationSource`."""

    categories: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[Note] = ()

    def __init__(self, path: Path) -> None:
        self._root = path if path.is_dir() else path.parent
        self._names = files_below(path, (".mat",))
        # Not the ending alone: that would be the MATLAB file's.
        self.images = [ListedImage(name[:-4], without_ending=True) for name in self._names]

    @property
    def image_folder(self) -> Path | None:
        """`images` beside the folder of `.mat` files, as in the archive."""
        for folder in (self._root, *self._root.parents):
            if (folder / "images").is_dir():
                return folder / "images"
        return None

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        try:
            return sum(np.unique(labels[labels > 0]).size for labels in self._partitions(index))
        except AnnotationError:
            return 0

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        try:
            partitions = self._partitions(index)
        except AnnotationError:
            return ImportedImage(notes=(Note(Loss.BAD_FILE, self._names[index]),))
        masks: list[ImportedMask] = []
        notes: list[Note] = []
        for person, labels in enumerate(partitions, start=1):
            if labels.shape != size_hw:
                regions = np.unique(labels[labels > 0]).size
                notes.append(Note(Loss.IMAGE_SIZE, f"annotator {person}", regions))
                continue
            for region, mask in labelmaps.split(labels):
                masks.append(
                    ImportedMask(
                        segmentation=mask,
                        name=f"annotator {person}, region {region}",
                        annotator=str(person),
                        attributes={"region": region},
                    )
                )
        return ImportedImage(
            masks=tuple(masks),
            notes=tuple(notes),
            attributes={"num_annotators": len(partitions)},
        )

    def _partitions(self, index: int) -> list[Any]:
        path = self._root / self._names[index]
        cells = matfile.load(path).get("groundTruth")
        if isinstance(cells, dict):
            cells = [cells]
        if not isinstance(cells, list) or not cells:
            raise AnnotationError(f"{path} has no cell array groundTruth")
        partitions = []
        for cell in cells:
            labels = cell.get("Segmentation") if isinstance(cell, dict) else None
            if not isinstance(labels, np.ndarray) or labels.ndim != 2:
                raise AnnotationError(f"{path}: an annotator without a Segmentation")
            if labels.dtype.kind == "f":
                whole = np.rint(labels)
                if not np.isfinite(labels).all() or (whole != labels).any():
                    raise AnnotationError(f"{path}: labels that are not whole numbers")
                labels = whole.astype(np.int64)
            partitions.append(labels)
        return partitions
