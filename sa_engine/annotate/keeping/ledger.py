"""What holds, and how it comes to hold: an event counts once it is in the journal."""

import asyncio
from collections.abc import Mapping
from typing import Any

from sa_engine.annotate.keeping.event_log import EventLog
from sa_engine.annotate.models.encoding import EncoderModel
from sa_engine.errors import RefusedRequest
from sa_engine.formats.work.folding import EventKind, ImageState, PeopleAnswers
from sa_engine.formats.work.log import JournalEvent


class Ledger:
    """The journal and what it says so far. Belongs to the event loop's thread."""

    def __init__(self, log: EventLog, answers: PeopleAnswers) -> None:
        self.answers = answers
        self._log = log

    def state(self, image_id: int) -> ImageState:
        """How far an image is."""
        work = self.answers.images.get(image_id)
        return ImageState.OPEN if work is None else work.state

    async def keep(
        self, kind: EventKind, annotator: str, image_id: int | None, said: Mapping[str, Any]
    ) -> JournalEvent:
        """Keep an event; returns once it is durable. RefusedRequest 507 if the disk is full."""
        content = {"by": annotator, "image": image_id, "kind": kind.value, **said}
        try:
            event = await asyncio.wrap_future(self._log.append(content))
        except OSError as error:
            raise RefusedRequest(
                507, "disk-full", f"the journal cannot be written ({error.strerror}): free space"
            ) from error
        self.answers.add(event)
        return event

    async def keep_model(self, model: EncoderModel) -> None:
        """Note that images opened from now on have another model."""
        said = {"name": model.path.stem, "sha256": model.sha256, "path": str(model.path)}
        await self.keep(EventKind.MODEL, "", None, said)
