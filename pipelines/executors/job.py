"""What a cluster is asked for: so many workers of one dataset."""

from dataclasses import dataclass

from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.shards.writer import pending_shards
from sa_engine.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterJob:
    """Workers of one dataset, as a scheduler is to start them.

    out: the dataset's absolute path or URL, as the workers see it.
    name: of the job: letters, digits and hyphens.
    workers: how many are started; each takes whatever shard is free.
    command: how `sa-engine` is called where they run.
    arguments: further ones of `sa-engine work`.
    gpus, cpus: of each worker; gpus may be 0.
    memory: of each worker, in the scheduler's own words ("32G", "32Gi").
    """

    out: str
    name: str
    workers: int
    command: tuple[str, ...] = ("sa-engine",)
    arguments: tuple[str, ...] = ()
    gpus: int = 1
    cpus: int = 8
    memory: str = "32G"

    @property
    def words(self) -> tuple[str, ...]:
        """The command line of one worker.

        It ends once others have in hand what is left, so that no GPU is held for nothing.
        """
        return (*self.command, "work", self.out, "--no-wait", *self.arguments)


def useful_workers(out: str, wanted: int, *, retry_failed: bool) -> int:
    """No more workers than there are shards to do.

    retry_failed: whether images are tried again, which may lie in shards that are complete.

    Raises UsageError where there is no dataset, or nothing left to do.
    """
    folder = open_folder(out)
    manifest = read_manifest(folder)
    left = manifest.num_shards if retry_failed else len(pending_shards(folder.url, manifest))
    if not left:
        raise UsageError(f"{out} is complete: all {manifest.num_shards} shards are made")
    return min(wanted, left)
