"""Encoded maps kept on disk: a frozen encoder has to see each image but once.

One file of equal entries, filled as images come. An entry counts once its checksum fits,
so a run that was killed in the middle of one, or two processes that write the same one, do no harm.
"""

import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sa_engine.dataset.folder.files import explain_write
from sa_engine.detection.encoder import EMBEDDING_STRIDE, EncodedMaps
from sa_engine.errors import OutputError, UsageError
from sa_engine.model.embedding import ImageEmbedding

_MARK = np.dtype("<u8")


class FeatureBank:
    """Maps of one encoded image an entry, float16.

    channels: of each map, by stride. image_size: side of the model's input, pixels.
    """

    def __init__(
        self, path: Path, *, num_entries: int, channels: Mapping[int, int], image_size: int
    ) -> None:
        self._shapes = {
            stride: (number, image_size // stride, image_size // stride)
            for stride, number in sorted(channels.items())
        }
        self._payload = bytes_of_entry(channels, image_size)
        self._entry_bytes = self._payload + _MARK.itemsize
        size = num_entries * self._entry_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.stat().st_blocks * 512 if path.exists() else 0
        free = shutil.disk_usage(path.parent).free
        if size - there > free:
            raise UsageError(
                f"keeping the encoded maps of {num_entries} pictures needs "
                f"{size / 2**20:,.0f} MiB in {path.parent}, where {free / 2**20:,.0f} MiB are "
                "free; give fewer --views, or --views 0 to keep none"
            )
        with explain_write(path, OutputError), path.open("ab") as file:
            # Space for all of it now: a disk that is full later would end the process by SIGBUS.
            os.posix_fallocate(file.fileno(), 0, size)
        self._path = path
        self._data = np.memmap(path, dtype=np.uint8, mode="r+", shape=(size,))

    def __contains__(self, entry: int) -> bool:
        """Whether an entry is there whole."""
        payload, mark = self._parts(entry)
        stored = int(mark.view(_MARK)[0])
        return stored != 0 and stored == _checksum(payload)

    def put(self, entry: int, encoded: EncodedMaps) -> None:
        """Keep the maps of one image (B is 1)."""
        maps = {**encoded.finer, EMBEDDING_STRIDE: encoded.embedding.coarse_BCHW}
        flat = torch.cat([maps[stride].reshape(-1) for stride in self._shapes])
        values = flat.float().clamp(-65504, 65504).half().cpu().numpy().view(np.uint8)
        payload, mark = self._parts(entry)
        payload[:] = values
        mark.view(_MARK)[0] = _checksum(payload)

    def get(self, entries: list[int]) -> EncodedMaps:
        """The maps of several images as one batch, float32 on the CPU."""
        rows = np.stack([self._parts(entry)[0] for entry in entries])
        values = torch.from_numpy(rows.view(np.float16)).float()
        maps: dict[int, Tensor] = {}
        start = 0
        for stride, shape in self._shapes.items():
            number = int(np.prod(shape))
            maps[stride] = values[:, start : start + number].reshape(-1, *shape)
            start += number
        embedding = maps.pop(EMBEDDING_STRIDE)
        return EncodedMaps(ImageEmbedding(embedding), maps)

    def remove(self) -> None:
        """Delete the file; maps are of no use once the run that they belong to is done."""
        self._path.unlink(missing_ok=True)

    def _parts(self, entry: int) -> tuple[np.ndarray, np.ndarray]:
        start = entry * self._entry_bytes
        middle = start + self._payload
        return self._data[start:middle], self._data[middle : start + self._entry_bytes]


def bytes_of_entry(channels: Mapping[int, int], image_size: int) -> int:
    """Bytes of the maps of one image."""
    return sum(2 * number * (image_size // s) ** 2 for s, number in channels.items())


def _checksum(payload: np.ndarray) -> int:
    # Never 0, which is what a hole in the file reads as.
    return zlib.crc32(payload.data) | 1 << 32
