"""Which image who has: opening, leases, and what an image comes with."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from sa_engine.annotate.keeping.assignments import LEASE_S, Assignment, Assignments
from sa_engine.annotate.keeping.drafts import Drafts
from sa_engine.annotate.keeping.ledger import Ledger
from sa_engine.annotate.models.encoding import EncoderModel, Urgency
from sa_engine.annotate.models.model_room import EncodablePicture, ModelRoom
from sa_engine.annotate.order import Order, image_order
from sa_engine.annotate.originals import Original, Originals
from sa_engine.annotate.page_masks import page_mask, page_proposals
from sa_engine.annotate.shown import ShownMasks
from sa_engine.errors import ImageError, RefusedRequest
from sa_engine.formats.work.folding import EventKind, ImageState
from sa_engine.formats.work.log import JournalEvent
from sa_engine.formats.work.settings import WorkSettings

_ENCODED_AHEAD = 4
"""Images that are read before the encoder takes them, where all are encoded."""

PREFETCHED = 3
"""Images after the one at hand that are read and encoded beforehand."""


class ImageQueue:
    """The images of a WORK while it is served. All methods belong to the event loop's thread.

    room: None for the brush alone.
    """

    def __init__(
        self,
        work: Path,
        settings: WorkSettings,
        originals: Originals,
        ledger: Ledger,
        *,
        room: ModelRoom | None = None,
        proposals: ShownMasks | None = None,
        existing: ShownMasks | None = None,
    ) -> None:
        self.settings, self.ledger = settings, ledger
        self.room, self.proposals, self.existing = room, proposals, existing
        self.assignments = Assignments(time.monotonic)
        self.drafts = Drafts(work)
        self.order = image_order(
            len(originals.sources),
            Order(settings.order),
            seed=settings.seed,
            sample=settings.sample,
        )
        self.readers = ThreadPoolExecutor(2, thread_name_prefix="reader")
        self._originals = originals
        self._models: dict[str, EncoderModel] = {}

    def counts(self) -> dict[str, int]:
        """{"total", "done", "skipped", "failed", "masks"} of the queue."""
        states = [self.ledger.state(image_id) for image_id in self.order]
        found = {state.value: states.count(state) for state in ImageState}
        masks = sum(len(work.live()) for work in self.ledger.answers.images.values())
        return {**found, "total": len(self.order), "masks": masks}

    @property
    def is_complete(self) -> bool:
        """Whether every image is done, skipped or failed."""
        return all(self.ledger.state(image_id) is not ImageState.OPEN for image_id in self.order)

    async def next_image(
        self, annotator: str, tab: str, *, after: int | None = None
    ) -> dict[str, Any] | None:
        """Give the next image: the tab's own, one with a draft, then by order; None if none is."""
        while True:
            image_id = self._choose(annotator, tab, after)
            if image_id is None:
                return None
            lease = self.assignments.take(annotator, tab, image_id)
            if lease is None:
                continue
            try:
                return await self._open(lease)
            except ImageError as error:
                self.assignments.release(image_id, lease.id)
                reason = {"reason": f"{error.reason}: {error.message}"}
                await self.ledger.keep(EventKind.FAILED, annotator, image_id, reason)

    async def open_image(self, annotator: str, tab: str, image_id: int) -> dict[str, Any]:
        """Give one image by its id, answered or not.

        Raises RefusedRequest: 404 no such image, 409 somebody else has it, 422 it cannot be read.
        """
        self.check(image_id)
        lease = self.assignments.take(annotator, tab, image_id)
        if lease is None:
            raise RefusedRequest(409, "taken", "somebody else is working on this image")
        try:
            return await self._open(lease)
        except ImageError as error:
            self.assignments.release(image_id, lease.id)
            raise RefusedRequest(422, "unreadable", error.message) from error

    def _choose(self, annotator: str, tab: str, after: int | None) -> int | None:
        own = self.assignments.own(annotator, tab)
        if (
            own is not None
            and own.image_id != after
            and self.ledger.state(own.image_id) is ImageState.OPEN
        ):
            return own.image_id
        if own is not None and own.tab == tab:
            self.assignments.release(own.image_id, own.id)

        def may(image_id: int) -> bool:
            return (
                image_id != after
                and self.ledger.state(image_id) is ImageState.OPEN
                and self.assignments.is_free(image_id, annotator)
            )

        drafts = self.drafts.of(annotator)
        for image_id in [*(each for each in self.order if each in drafts), *self.order]:
            if may(image_id):
                return image_id
        return None

    async def _open(self, lease: Assignment) -> dict[str, Any]:
        image_id = lease.image_id
        original = await self.original(image_id)
        name = self.name(image_id)
        if self.room is not None and self.room.current is not None:
            self._models[lease.id] = self.room.current
            self.room.want(
                self.room.current, self._picture(image_id, original), None, Urgency.OPENED
            )
        said = {
            "lease": lease.id,
            "tab": lease.tab,
            "picked": self.settings.order,
        }
        await self.ledger.keep(EventKind.OPENED, lease.annotator, image_id, said)
        self._prefetch(lease.annotator)
        work = self.ledger.answers.image(image_id)
        size_hw = height, width = original.size_hw
        return {
            "lease": lease.id,
            "until_s": LEASE_S,
            "counts": self.counts(),
            "image": {
                "id": image_id,
                "place": self.order.index(image_id) + 1 if image_id in self.order else image_id,
                "name": name,
                "width": width,
                "height": height,
                "state": work.state.value,
                "picture": f"/api/images/{image_id}/picture/{original.sha256}",
                "model": None if self.room is None else self.room.describe(self._sha(lease.id)),
                "masks": [page_mask(drawn) for drawn in work.live()],
                "proposals": page_proposals(self.proposals, work, name, size_hw),
                "existing": [] if self.existing is None else self.existing.for_page(name, size_hw),
                "draft": self.drafts.read(lease.annotator, image_id),
            },
        }

    def _prefetch(self, annotator: str) -> None:
        """Begin with the images that will be asked for next."""
        ahead = [
            image_id
            for image_id in self.order
            if self.ledger.state(image_id) is ImageState.OPEN
            and self.assignments.is_free(image_id, annotator)
        ][:PREFETCHED]
        for image_id in ahead:
            asyncio.get_running_loop().create_task(self._read_ahead(image_id))

    async def _read_ahead(self, image_id: int) -> None:
        try:
            original = await self.original(image_id)
        except ImageError:
            return
        if self.room is not None and self.room.current is not None:
            picture = self._picture(image_id, original)
            self.room.want(self.room.current, picture, None, Urgency.NEXT)

    def name(self, image_id: int) -> str:
        """The name that the image is listed by."""
        return self._originals.sources[image_id - 1].name

    async def original(self, image_id: int) -> Original:
        """The image as it was read. Raises ImageError."""
        self.check(image_id)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.readers, self._originals.read, image_id)

    async def picture(self, image_id: int) -> EncodablePicture:
        """The image as the models need it."""
        return self._picture(image_id, await self.original(image_id))

    def _picture(self, image_id: int, original: Original) -> EncodablePicture:
        return EncodablePicture(self._originals.sources[image_id - 1], original)

    def check(self, image_id: int) -> None:
        """RefusedRequest 404 if there is no such image."""
        if not 1 <= image_id <= len(self._originals.sources):
            raise RefusedRequest(404, "no-image", f"there is no image {image_id}")

    def lease(self, annotator: str, image_id: int, lease_id: str) -> Assignment:
        """Renew a lease. RefusedRequest 409 if the image went to somebody else."""
        lease = self.assignments.held(image_id, lease_id, annotator)
        if lease is None:
            raise RefusedRequest(409, "lease-lost", "somebody else has taken this image over")
        return lease

    def model(self, lease_id: str) -> EncoderModel | None:
        """The model that an image keeps until it is left."""
        if lease_id not in self._models and self.room is not None and self.room.current:
            self._models[lease_id] = self.room.current
        return self._models.get(lease_id)

    def release(self, image_id: int, lease_id: str) -> None:
        """Give an image back."""
        self.assignments.release(image_id, lease_id)
        self._models.pop(lease_id, None)
        if self.room is not None:
            self.room.drop_all_but({model.sha256 for model in self._models.values()})

    def _sha(self, lease_id: str) -> str | None:
        model = self._models.get(lease_id)
        return None if model is None else model.sha256

    def restore_leases(self, events: Sequence[JournalEvent]) -> None:
        """Those that were open when the server stopped: their tabs come back by themselves."""
        now = time.time()
        for event in events:
            if event["kind"] == EventKind.OPENED:
                age = max(0.0, now - float(event["at"]))
                self.assignments.restore(
                    event["lease"], event["by"], event["tab"], int(event["image"]), age
                )
        for image_id in list(self.ledger.answers.images):
            if self.ledger.state(image_id) is not ImageState.OPEN:
                self.assignments.forget(image_id)

    async def encode_all(self, progress: Callable[[int, int], None]) -> int:
        """Encode every image that is still to be answered, before anybody asks; how many are there.

        progress: is told the images done and those in all. An image that cannot be read or encoded
        is left for when it is opened. Raises SaEngineError if the model cannot be loaded.
        """
        if self.room is None:
            return 0
        model = self.room.current or await self.room.load()
        left = [each for each in self.order if self.ledger.state(each) is ImageState.OPEN]
        pictures = []
        for number, image_id in enumerate(left):
            progress(number, len(left))
            try:
                original = await self.original(image_id)
            except ImageError:
                continue
            picture = self._picture(image_id, replace(original, data=b""))
            pictures.append(picture)
            self.room.want(model, picture, None, Urgency.NEXT)
            while self.room.encoding.waiting() > _ENCODED_AHEAD:
                await asyncio.sleep(0.05)
        while self.room.encoding.waiting():
            await asyncio.sleep(0.05)
        progress(len(left), len(left))
        return sum(self.room.want(model, each, None, Urgency.NEXT) for each in pictures)

    def close(self) -> None:
        """Stop what works beside the event loop."""
        self.readers.shutdown(wait=False, cancel_futures=True)
        if self.room is not None:
            self.room.close()
