"""Writing one shard: a tar of images and JSON, a Parquet file of rows, and stats that seal both.

Until the shard is complete it lies in the scratch folder as a growing tar and a journal. A writer
that is killed at any moment is continued by another, by anyone, and the finished bytes are the
same as of one that never stopped.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from sa_engine.dataset.folder.base import Folder, explain_write, open_folder, sha256_of
from sa_engine.dataset.folder.sealed import canonical
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.dataset.shards import rows, segment, tar
from sa_engine.dataset.shards.claims import Lease, holders
from sa_engine.dataset.shards.journal import Entry, Journal, checksum, read_journal, write_at
from sa_engine.dataset.shards.stats import (
    FileSum,
    ShardStats,
    complete_shards,
    encode_stats,
    parquet_name,
    stats_name,
    tar_name,
)
from sa_engine.dataset.shards.tally import ShardTally
from sa_engine.errors import DamagedError


class ShardWriter:
    """Writes one shard, image by image in the order of their ids; a context manager.

    Opening it takes up what an earlier writer left. `next_image_id` tells what is to be added next;
    when it is None, `finish` completes the shard. Leaving the context without `finish` keeps all
    progress for the next writer.

    lease: a claim on the shard that is checked before anything is written; without one, the caller
        answers for being alone.
    is_trial: what is added may turn out to be wrong when it is finished: nobody else takes it up,
        and it takes up nothing.

    Raises DatasetError when the disk cannot be written (full, gone, permission lost).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        shard_index: int,
        *,
        manifest: Manifest,
        lease: Lease | None = None,
        is_trial: bool = False,
    ) -> None:
        self._folder: Folder = open_folder(root)
        self._index = shard_index
        self._ids = manifest.image_ids(shard_index)
        self._lease = lease
        self._count = 0
        self._tar_end = 0
        self._failed: list[int] = []
        scratch = self._folder.scratch
        self._tar_path = scratch / tar_name(shard_index)
        self._journal_path = scratch / _journal_name(shard_index)
        self._check_lease()
        self._header = _journal_header(manifest, shard_index)
        self._is_trial = is_trial
        header = f"trial {self._header}" if is_trial else self._header
        self._journal = Journal(self._journal_path, header)
        self._tar = -1
        try:
            self._is_redone = self._folder.size(stats_name(shard_index)) is not None
            is_new = self._open_tar()
            if is_new or is_trial:
                # A journal without its tar is of a shard that was completed or lost.
                self._journal.keep(None, 0)
            self._take_up()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def next_image_id(self) -> int | None:
        """The id of the image to add next; None when all are there."""
        return self._ids[self._count] if self._count < len(self._ids) else None

    @property
    def done(self) -> range:
        """Ids of the images that are in the shard already."""
        return self._ids[: self._count]

    @property
    def failed(self) -> tuple[int, ...]:
        """Ids of the images that failed, of those that an earlier writer left."""
        return tuple(self._failed)

    def add(
        self, record: ImageRecord, image_bytes: bytes | None = None, *, seconds: float = 0.0
    ) -> None:
        """Add the next image; once this returns it is never lost to a kill.

        image_bytes: the file to store under `record.file_name`; None to store its JSON alone.
        seconds: time that was spent on it, for the stats.

        A failed image adds a row and nothing to the tar. Raises ValueError if it is not the next
        image or holds what JSON cannot (numbers that are not finite, objects); nothing is written
        then.
        """
        if record.image_id != self.next_image_id:
            raise ValueError(f"image {record.image_id} where {self.next_image_id} is next")
        data, row = segment.encode(record, image_bytes, start=self._tar_end)
        self._append(row, data, seconds)

    def copy(
        self, row: Mapping[str, Any], data: bytes, *, start: int, seconds: float = 0.0
    ) -> None:
        """Add the next image as it is in another version of the shard.

        row: its row there without the masks.
        data: its stretch of the tar there, which begins at `start`.
        seconds: time that was spent on it, for the stats.

        Raises ValueError if it is not the next image.
        """
        if row["image_id"] != self.next_image_id:
            raise ValueError(f"image {row['image_id']} where {self.next_image_id} is next")
        self._append(segment.moved(row, by=self._tar_end - start), data, seconds)

    def restart(self) -> None:
        """Forget the progress that an earlier writer left."""
        self._check_lease()
        self._count = self._tar_end = 0
        self._failed = []
        self._journal.keep(None, 0)
        with explain_write(self._tar_path):
            os.ftruncate(self._tar, 0)

    def discard(self) -> None:
        """Close, and leave no progress behind."""
        self._check_lease()
        self._close()
        for path in (self._journal_path, self._tar_path):
            path.unlink(missing_ok=True)

    def _append(self, row: Mapping[str, Any], data: bytes, seconds: float) -> None:
        entry = Entry(row, self._tar_end + len(data), checksum(data), seconds)
        self._check_lease()
        with explain_write(self._tar_path):
            write_at(self._tar, data, self._tar_end)
        self._journal.append(entry)
        self._tar_end = entry.tar_end
        self._count += 1

    def finish(self, *, vet: Callable[[ShardStats], None] | None = None) -> ShardStats:
        """Complete the shard: its files appear under their names, the stats last.

        vet: called with the stats before any file appears; what it raises leaves all as it was.

        Raises ValueError if images are missing, DamagedError if what lies on disk is not what was
        written.
        """
        if self.next_image_id is not None:
            raise ValueError(f"image {self.next_image_id} has not been added yet")
        self._check_lease()
        with explain_write(self._tar_path):
            write_at(self._tar, tar.end_bytes(self._tar_end), self._tar_end)
            os.fsync(self._tar)
        parquet_path = self._tar_path.with_name(parquet_name(self._index))
        tally = ShardTally()
        with explain_write(parquet_path):
            rows.write_rows(parquet_path, self._read_back(tally))
            with parquet_path.open("rb+") as file:
                parquet_sum = FileSum(parquet_path.stat().st_size, sha256_of(file))
                os.fsync(file.fileno())
        stats = ShardStats(
            shard_index=self._index,
            first_image_id=self._ids[0],
            num_images=len(self._ids),
            num_failed=tally.num_failed,
            num_masks=tally.num_masks,
            seconds=round(tally.seconds, 3),
            tar=tally.tar_sum,
            parquet=parquet_sum,
        )
        if vet is not None:
            vet(stats)
        if self._is_trial:
            self._journal.rename(self._header)
        self._journal.sync()
        self._check_lease()
        if self._is_redone:
            # The older one stops counting first; from here on the journal alone can finish.
            self._folder.remove(stats_name(self._index))
        self._folder.publish(self._tar_path, tar_name(self._index))
        self._folder.publish(parquet_path, parquet_name(self._index))
        self._folder.write(stats_name(self._index), encode_stats(stats))
        self._close()
        for path in (self._journal_path, self._tar_path, parquet_path):
            path.unlink(missing_ok=True)
        return stats

    def _open_tar(self) -> bool:
        """Open the growing tar; whether it had to be made."""
        if not self._is_redone and not self._is_trial:
            # The writer may have died between naming the tar and sealing it.
            self._folder.reclaim(tar_name(self._index), self._tar_path)
        is_new = not self._tar_path.exists()
        with explain_write(self._tar_path):
            self._tar = os.open(self._tar_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return is_new

    def _take_up(self) -> None:
        """Keep what the journal and the tar agree on, drop the rest."""
        previous, length = None, 0
        with open(self._tar, "rb", closefd=False) as file:
            for entry, digest, journal_length in self._journal.entries():
                if self._count == len(self._ids):
                    break
                data = file.read(entry.tar_end - self._tar_end)
                if (
                    entry.row["image_id"] != self._ids[self._count]
                    or checksum(data) != entry.segment
                ):
                    break
                if entry.row["status"] != ImageStatus.OK:
                    self._failed.append(entry.row["image_id"])
                previous, length = digest, journal_length
                self._tar_end = entry.tar_end
                self._count += 1
        self._journal.keep(previous, length)
        with explain_write(self._tar_path):
            os.ftruncate(self._tar, self._tar_end)

    def _read_back(self, tally: ShardTally) -> Iterator[dict[str, Any]]:
        """The rows, from the journal and the tar, while both are checked and counted."""
        position = 0
        with open(self._tar, "rb", closefd=False) as file:
            file.seek(0)
            for entry, _, _ in self._journal.entries():
                data = file.read(entry.tar_end - position)
                if checksum(data) != entry.segment:
                    raise DamagedError(
                        f"{self._tar_path} changed since image {entry.row['image_id']} was written "
                        "to it: run the same command again; it goes on from there"
                    )
                row = segment.whole_row(entry.row, data, start=position)
                tally.count(entry, row, data)
                yield row
                position = entry.tar_end
            tail = file.read()
        if position != self._tar_end or tail != tar.end_bytes(position):
            raise DamagedError(
                f"{self._tar_path} or its journal changed: run the same command again"
            )
        tally.end(tail)

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _close(self) -> None:
        self._journal.close()
        if self._tar >= 0:
            os.close(self._tar)
            self._tar = -1


def pending_shards(root: str | os.PathLike[str], manifest: Manifest) -> list[int]:
    """Indices of the shards that are not complete, in order."""
    complete = set(complete_shards(open_folder(root), manifest))
    return [index for index in range(manifest.num_shards) if index not in complete]


def journaled(root: str | os.PathLike[str], manifest: Manifest) -> dict[int, list[Entry]]:
    """The images that are finished in shards that are not complete, by shard."""
    folder = open_folder(root)
    indices = {_journal_name(index): index for index in pending_shards(root, manifest)}
    found: dict[int, list[Entry]] = {}
    for path in folder.scratch_files():
        if path.name in indices:
            index = indices[path.name]
            found[index] = read_journal(path, _journal_header(manifest, index))
    return found


def is_begun(folder: Folder, manifest: Manifest, shard_index: int) -> bool:
    """Whether images of a shard that is not complete are finished and wait in its journal."""
    path = folder.scratch / _journal_name(shard_index)
    return bool(read_journal(path, _journal_header(manifest, shard_index)))


def discard_shard(root: str | os.PathLike[str], shard_index: int) -> None:
    """Forget a shard, complete or begun, so that it is made anew."""
    folder = open_folder(root)
    folder.remove(stats_name(shard_index))
    for name in (tar_name(shard_index), parquet_name(shard_index)):
        folder.remove(name)
        (folder.scratch / name).unlink(missing_ok=True)
    (folder.scratch / _journal_name(shard_index)).unlink(missing_ok=True)


def clear_scratch(root: str | os.PathLike[str], manifest: Manifest) -> bool:
    """Remove the scratch folder if every shard is complete and nobody works; whether it is gone."""
    if pending_shards(root, manifest) or any(each.is_alive for each in holders(root)):
        return False
    return open_folder(root).drop_scratch()


def _journal_name(shard_index: int) -> str:
    return f"sa_{shard_index:06d}.journal"


def _journal_header(manifest: Manifest, shard_index: int) -> str:
    """Whatever would change the bytes makes the journal of another run unbelievable."""
    return canonical({"shard": shard_index, "manifest": manifest.to_json()})
