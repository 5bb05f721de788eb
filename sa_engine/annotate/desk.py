"""What people do with an image's masks: checked, kept, acknowledged."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from sa_engine.annotate import bodies
from sa_engine.annotate.image_queue import ImageQueue
from sa_engine.annotate.keeping.assignments import Assignment, allowed_share
from sa_engine.annotate.originals import Original
from sa_engine.annotate.page_masks import page_mask, rle_of
from sa_engine.errors import DatasetError, RefusedRequest
from sa_engine.formats.work.folding import Decision, Drawn, EventKind
from sa_engine.masks.rle import Rle, area, iou_matrix

SAME_IOU = 0.9
"""From this IoU on two masks of an image may be the same object twice."""


class Desk:
    """Answers of people, one image at a time. Belongs to the event loop's thread."""

    def __init__(self, queue: ImageQueue) -> None:
        self._queue = queue
        self._ledger = queue.ledger
        self._locks: dict[int, asyncio.Lock] = {}

    async def put_mask(
        self, annotator: str, image_id: int, lease_id: str, mask_id: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Keep a finished mask; the answer once it is durable.

        Without the image's lease it is kept as `late`, and refused (409).
        """
        own_id = bodies.uuid(body, "id")
        original = await self._queue.original(image_id)
        event = bodies.mask_event(body, original.size_hw, min_area=self._queue.settings.min_area)
        said = {"id": own_id, "mask": mask_id, **event}
        async with self._lock(image_id):
            if own_id not in self._ledger.answers.seen:
                try:
                    lease = self._queue.lease(annotator, image_id, lease_id)
                except RefusedRequest:
                    await self._ledger.keep(EventKind.LATE, annotator, image_id, said)
                    raise
                self._check_revision(image_id, mask_id, event["revision"])
                self._check_proposal(image_id, original, event.get("proposal"))
                await self._ledger.keep(
                    EventKind.MASK, annotator, image_id, self._timed(lease, said)
                )
            drawn = self._ledger.answers.image(image_id).masks.get(mask_id)
            if drawn is None or drawn.last is None:
                return {"id": mask_id, "revision": event["revision"]}
            return {**page_mask(drawn), "same_as": self._same_as(image_id, drawn)}

    async def remove_mask(
        self, annotator: str, image_id: int, lease_id: str, mask_id: str, body: Mapping[str, Any]
    ) -> None:
        """Take a mask out; it stays in the journal."""
        said = {
            "id": bodies.uuid(body, "id"),
            "mask": mask_id,
            "revision": bodies.whole(body, "revision", 1, 1 << 20),
            "clock": bodies.clock(body),
        }
        await self._told(EventKind.REMOVED, annotator, image_id, lease_id, said)

    async def put_verdict(
        self,
        annotator: str,
        image_id: int,
        lease_id: str,
        proposal: int,
        body: Mapping[str, Any],
    ) -> None:
        """Keep what somebody said of a proposal."""
        original = await self._queue.original(image_id)
        self._check_proposal(image_id, original, proposal)
        decisions = (Decision.KEPT, Decision.REJECTED, Decision.UNDECIDED)
        said = {
            "id": bodies.uuid(body, "id"),
            "proposal": proposal,
            "verdict": bodies.word(body, "verdict", [each.value for each in decisions]),
            "clock": bodies.clock(body),
        }
        await self._told(EventKind.VERDICT, annotator, image_id, lease_id, said)

    async def put_state(
        self, annotator: str, image_id: int, lease_id: str, body: Mapping[str, Any]
    ) -> None:
        """Declare an image done, skipped or open again; done and skipped give it back."""
        state = bodies.word(body, "state", ("done", "skipped", "reopened"))
        said = {
            "id": bodies.uuid(body, "id"),
            "state": state,
            "reason": bodies.line(body, "reason"),
            "note": bodies.line(body, "note"),
            "clock": bodies.clock(body),
        }
        kept = {key: value for key, value in said.items() if value is not None}
        await self._told(EventKind.STATE, annotator, image_id, lease_id, kept)
        if state != "reopened":
            self._queue.release(image_id, lease_id)
            self._queue.drafts.write(annotator, image_id, None)

    async def _told(
        self, kind: EventKind, annotator: str, image_id: int, lease_id: str, said: dict[str, Any]
    ) -> None:
        self._queue.check(image_id)
        async with self._lock(image_id):
            if said["id"] in self._ledger.answers.seen:
                return
            lease = self._queue.lease(annotator, image_id, lease_id)
            await self._ledger.keep(kind, annotator, image_id, self._timed(lease, said))

    def _timed(self, lease: Assignment, said: dict[str, Any]) -> dict[str, Any]:
        """No more seconds than have passed."""
        known = self._ledger.answers.image(lease.image_id).clocks
        fresh = [each for each in said["clock"] if each["id"] not in known]
        share = allowed_share(lease, bodies.claimed(fresh), time.monotonic())
        if share == 1.0:
            return {**said, "clock": fresh}
        return {**said, "clock": bodies.cut(fresh, share), "cut": True}

    def _check_revision(self, image_id: int, mask_id: str, revision: int) -> None:
        drawn = self._ledger.answers.image(image_id).masks.get(mask_id)
        if drawn is not None and revision <= drawn.revision:
            raise RefusedRequest(
                409, "older", f"the mask is at revision {drawn.revision}", revision=drawn.revision
            )

    def _check_proposal(self, image_id: int, original: Original, proposal: int | None) -> None:
        if proposal is None:
            return
        name = self._queue.name(image_id)
        shown = self._queue.proposals
        if shown is None or shown.mask(name, original.size_hw, proposal) is None:
            raise bodies.refuse(f"the image has no proposal {proposal}")

    def base(self, image_id: int, original: Original, said: object) -> Rle | None:
        """The mask that clicks change: {"mask": id} or {"proposal": id}."""
        if not isinstance(said, dict):
            return None
        if "proposal" in said and self._queue.proposals is not None:
            name = self._queue.name(image_id)
            return self._queue.proposals.mask(name, original.size_hw, int(said["proposal"]))
        drawn = self._ledger.answers.image(image_id).masks.get(str(said.get("mask")))
        if drawn is None or drawn.last is None:
            return None
        return rle_of(drawn.last)

    def _same_as(self, image_id: int, drawn: Drawn) -> list[str]:
        if drawn.last is None:
            return []
        own = rle_of(drawn.last)
        size = area(own)
        others = [
            (other.id, rle_of(other.last))
            for other in self._ledger.answers.image(image_id).live()
            if other is not drawn and other.last is not None
        ]
        alike = [
            (name, rle)
            for name, rle in others
            if SAME_IOU <= area(rle) / max(size, 1) <= 1 / SAME_IOU
        ]
        ious = iou_matrix([own], [rle for _, rle in alike])
        return [
            name for (name, _), iou in zip(alike, ious.reshape(-1), strict=True) if iou >= SAME_IOU
        ]

    async def put_draft(self, annotator: str, image_id: int, draft: Any) -> None:
        """Keep the mask in hand, or that there is none. Raises RefusedRequest 507."""
        self._queue.check(image_id)
        write = self._queue.drafts.write
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._queue.readers, write, annotator, image_id, draft)
        except DatasetError as error:
            raise RefusedRequest(507, "disk-full", f"the draft was not kept: {error}") from error

    def _lock(self, image_id: int) -> asyncio.Lock:
        return self._locks.setdefault(image_id, asyncio.Lock())
