"""What lies beside a dataset's files while it is made."""

from collections.abc import Iterable

from sa_engine.dataset.folder import object_store
from sa_engine.dataset.folder.card import CARD_NAME
from sa_engine.dataset.folder.place import Place, last_part
from sa_engine.errors import UsageError

SCRATCH = ".work"
"""Sub-folder for unfinished shards, their journals and the claims on them."""

_MANIFEST = "manifest.json"
SPARE_MANIFEST, SPARE_INPUTS = "manifest.spare.json", "inputs.spare.parquet"
_FIRST_FILES = frozenset({SCRATCH, "inputs.parquet", _MANIFEST, SPARE_MANIFEST, SPARE_INPUTS})
HARMLESS = frozenset({CARD_NAME, ".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files in a dataset's folder that say nothing of it: its card, and what file browsers leave."""


def refuse_foreign(url: str, held: Iterable[str]) -> None:
    """UsageError unless what a folder holds is nothing, a dataset, or the beginning of one."""
    names = set(held)
    foreign = sorted(names - _FIRST_FILES - HARMLESS)
    if _MANIFEST not in names and foreign:
        raise UsageError(
            f"{url} is not empty and not a dataset (it holds {foreign[0]!r}): "
            "choose a new or empty folder for --out"
        )


class SharedScratch:
    """Small objects that the machines which work on one dataset tell each other."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def url(self) -> str:
        """Where they lie."""
        return self._place.url

    def names(self, prefix: str = "") -> list[str]:
        """The names that begin so, in order."""
        return sorted(self.heads(prefix))

    def heads(self, prefix: str = "") -> dict[str, object_store.Head]:
        """What is known of the objects whose names begin so."""
        found: dict[str, object_store.Head] = {}
        for page in object_store.pages(self._place, deep=False, starting=prefix):
            found |= {last_part(key): head for key, head in page.objects.items()}
        return found

    def read(self, name: str) -> bytes:
        """The content. FileNotFoundError if there is no such object."""
        return object_store.read(self._place.join(name))

    def create(self, name: str, data: bytes) -> bool:
        """Make it if there is none of this name; whether that was done."""
        return object_store.create(self._place.join(name), data)

    def write(self, name: str, data: bytes) -> None:
        """Write it, whether it is there or not."""
        object_store.put(self._place.join(name), data)

    def remove(self, name: str) -> None:
        """Delete it, if it is there."""
        object_store.remove(self._place.join(name))
