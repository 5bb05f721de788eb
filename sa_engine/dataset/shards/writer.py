"""Writing one shard: a tar of images and JSON, a Parquet file of rows, and stats that seal both.

Until the shard is complete it lies in a workspace as a growing tar and a journal. A writer that is
killed at any moment is continued by another, by anyone, and the finished bytes are the same as of
one that never stopped. One that was only thought dead changes nothing any more (see `workspace`).
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, BinaryIO, Self

from sa_engine.dataset.folder.base import (
    Folder,
    explain_write,
    open_folder,
    sha256_of,
    write_synced,
)
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
from sa_engine.dataset.shards.workspace import Workspace, find_workspaces, open_workspace
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
        self._header = _journal_header(manifest, shard_index)
        self._is_trial = is_trial
        self._check_lease()
        scratch = self._folder.scratch
        with explain_write(scratch):
            self._work, self._left = open_workspace(
                scratch, shard_index, None if lease is None else lease.number
            )
        header = f"trial {self._header}" if is_trial else self._header
        self._journal = Journal(self._work.journal, header)
        self._tar = -1
        try:
            with explain_write(self._work.tar):
                self._tar = os.open(self._work.tar, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if not is_trial:
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
        self._journal.clear()
        with explain_write(self._work.tar):
            os.ftruncate(self._tar, 0)

    def discard(self) -> None:
        """Close, and leave no progress behind."""
        self._check_lease()
        self._close()
        self._work.remove()

    def _append(self, row: Mapping[str, Any], data: bytes, seconds: float) -> None:
        self._check_lease()
        self._write(Entry(row, self._tar_end + len(data), checksum(data), seconds), data)

    def _write(self, entry: Entry, data: bytes) -> None:
        with explain_write(self._work.tar):
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
        with explain_write(self._work.tar):
            write_at(self._tar, tar.end_bytes(self._tar_end), self._tar_end)
            os.fsync(self._tar)
        tally = ShardTally()
        with explain_write(self._work.parquet):
            rows.write_rows(self._work.parquet, self._read_back(tally))
            with self._work.parquet.open("rb+") as file:
                parquet_sum = FileSum(self._work.parquet.stat().st_size, sha256_of(file))
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
        with explain_write(self._work.stats):
            write_synced(self._work.stats, encode_stats(stats))
        if self._is_trial:
            self._journal.rename(self._header)
        self._journal.sync()
        # All is written: what follows only names it.
        self._close()
        self._withdraw_stats()
        for finished, name in (
            (self._work.tar, tar_name(self._index)),
            (self._work.parquet, parquet_name(self._index)),
            (self._work.stats, stats_name(self._index)),
        ):
            self._confirm_lease()
            self._folder.publish(finished, name)
        self._remove_work()
        return stats

    def leave(self, stats: ShardStats) -> None:
        """Leave a complete shard as it is but for its stats, and no progress behind."""
        self._close()
        with explain_write(self._work.stats):
            write_synced(self._work.stats, encode_stats(stats))
        self._confirm_lease()
        self._folder.publish(self._work.stats, stats_name(self._index))
        self._remove_work()

    def _withdraw_stats(self) -> None:
        """Let an older version of the shard stop counting; from here on the journal can finish."""
        name = stats_name(self._index)
        if self._folder.size(name) is not None:
            self._confirm_lease()
            self._folder.withdraw(name, self._work.old_stats)

    def _remove_work(self) -> None:
        for each in (*self._left, self._work):
            each.remove()

    def _take_up(self) -> None:
        """Copy what an earlier writer had finished, as far as its journal and its tar agree.

        The longest journal counts: a writer that takes up may itself be cut off.
        """
        lengths = {each: len(read_journal(each.journal, self._header)) for each in self._left}
        best = max(lengths, key=lambda each: lengths[each], default=None)
        if best is not None and lengths[best]:
            with contextlib.suppress(FileNotFoundError), self._tar_of(best) as file:
                self._copy_from(read_journal(best.journal, self._header), file)
            self._sync()
        for each in self._left:
            each.remove()

    def _tar_of(self, left: Workspace) -> BinaryIO:
        """The tar that belongs to a journal. FileNotFoundError if it is lost."""
        name = tar_name(self._index)
        if not left.tar.exists() and self._folder.size(stats_name(self._index)) is None:
            # The writer died when the tar had its final name, and the stats had not.
            return self._folder.open(name)
        return left.tar.open("rb")

    def _copy_from(self, entries: list[Entry], file: BinaryIO) -> None:
        for entry in entries:
            if self._count == len(self._ids):
                return
            data = file.read(entry.tar_end - self._tar_end)
            is_next = entry.row["image_id"] == self._ids[self._count]
            if not is_next or checksum(data) != entry.segment:
                return
            if entry.row["status"] != ImageStatus.OK:
                self._failed.append(entry.row["image_id"])
            self._write(entry, data)

    def _sync(self) -> None:
        with explain_write(self._work.tar):
            os.fsync(self._tar)
        self._journal.sync()

    def _read_back(self, tally: ShardTally) -> Iterator[dict[str, Any]]:
        """The rows, from the journal and the tar, while both are checked and counted."""
        position = 0
        with open(self._tar, "rb", closefd=False) as file:
            file.seek(0)
            for entry in self._journal.entries():
                data = file.read(entry.tar_end - position)
                if checksum(data) != entry.segment:
                    raise DamagedError(
                        f"{self._work.tar} changed since image {entry.row['image_id']} was written "
                        "to it: run the same command again; it goes on from there"
                    )
                row = segment.whole_row(entry.row, data, start=position)
                tally.count(entry, row, data)
                yield row
                position = entry.tar_end
            tail = file.read()
        if position != self._tar_end or tail != tar.end_bytes(position):
            raise DamagedError(
                f"{self._work.tar} or its journal changed: run the same command again"
            )
        tally.end(tail)

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _confirm_lease(self) -> None:
        if self._lease is not None:
            self._lease.confirm()

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
    pending = set(pending_shards(root, manifest))
    found: dict[int, list[Entry]] = {}
    for work in find_workspaces(folder.scratch_files()):
        if work.shard_index in pending:
            entries = read_journal(work.journal, _journal_header(manifest, work.shard_index))
            if len(entries) >= len(found.get(work.shard_index, ())):
                found[work.shard_index] = entries
    return found


def count_finished(folder: Folder, manifest: Manifest, shard_index: int) -> int:
    """Images of a shard that is not complete that are finished and wait in a workspace."""
    header = _journal_header(manifest, shard_index)
    works = find_workspaces(folder.scratch_files(), shard_index)
    return max((len(read_journal(each.journal, header)) for each in works), default=0)


def discard_shard(root: str | os.PathLike[str], shard_index: int) -> None:
    """Forget a shard, complete or begun, so that it is made again."""
    folder = open_folder(root)
    for name in (stats_name(shard_index), tar_name(shard_index), parquet_name(shard_index)):
        folder.remove(name)
    for work in find_workspaces(folder.scratch_files(), shard_index):
        work.remove()


def clear_scratch(root: str | os.PathLike[str], manifest: Manifest) -> bool:
    """Remove the scratch folder if every shard is complete and nobody works; whether it is gone."""
    if pending_shards(root, manifest) or any(each.is_alive for each in holders(root)):
        return False
    return open_folder(root).drop_scratch()


def _journal_header(manifest: Manifest, shard_index: int) -> str:
    """Whatever would change the bytes makes the journal of another run unbelievable."""
    return canonical({"shard": shard_index, "manifest": manifest.as_of(shard_index).to_json()})
