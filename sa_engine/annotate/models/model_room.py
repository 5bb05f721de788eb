"""The models that answer clicks: which one an image has, and what it has encoded."""

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sa_engine.annotate.models.clicks import Clicks
from sa_engine.annotate.models.encode_job import Job
from sa_engine.annotate.models.encoding import EncoderModel, Encoding, Urgency
from sa_engine.annotate.models.frames import ModelFrame, Rect
from sa_engine.annotate.originals import Original
from sa_engine.dataset.sources.listing import Source
from sa_engine.errors import DamagedError, RefusedRequest, SaEngineError

if TYPE_CHECKING:
    from sa_engine.annotate.models.segmenter import ClickAnswer, ClickSegmenter

_IN_HAND = 2
"""Requests of one annotator that may wait for the decoder."""


@dataclass(frozen=True, slots=True)
class EncodablePicture:
    """An image as the models need it: where its bytes are, and what was found in them."""

    source: Source
    original: Original


class ModelRoom:
    """The model at hand, those that images in hand still have, and the embeddings.

    checkpoint: the first model's file. max_pixels: of images, as `read_image` takes it.
    threads: of the decoder. Methods belong to the event loop's thread.
    """

    def __init__(
        self,
        checkpoint: Path,
        encoding: Encoding,
        *,
        device: str,
        precision: str,
        max_pixels: int,
        threads: int = 1,
    ) -> None:
        self.encoding = encoding
        self.error: str | None = None
        self.current: EncoderModel | None = None
        self._first = checkpoint
        self._device, self._precision = device, precision
        self._max_pixels, self._threads = max_pixels, threads
        self._segmenters: dict[str, ClickSegmenter] = {}
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._in_hand: Counter[str] = Counter()
        self._previews: Counter[str] = Counter()

    async def load(self, checkpoint: Path | None = None) -> EncoderModel:
        """Load a model, and give it to images that are opened from now on.

        Raises SaEngineError; the model before stays.
        """
        path = checkpoint or self._first
        try:
            segmenter = await self._decode(lambda: self._load(path))
        except (SaEngineError, OSError) as error:
            self.error = f"{path}: {error}"
            raise
        self.error = None
        self._segmenters[segmenter.sha256] = segmenter
        self.current = EncoderModel(
            segmenter.checkpoint, segmenter.sha256, self._device, self._precision
        )
        return self.current

    def _load(self, path: Path) -> "ClickSegmenter":
        # Here alone: with --no-model nothing of the deep learning library is loaded.
        import torch

        from sa_engine.annotate.models.segmenter import ClickSegmenter

        torch.set_num_threads(self._threads)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return ClickSegmenter(
            path,
            sha256=digest,
            name=path.stem,
            device=self._device,
            precision=self._precision,
            cache=self.encoding.cache,
        )

    async def follow(self, path: Path, told: Callable[[EncoderModel], Any]) -> None:
        """Load a file anew whenever its content changes, and say so. Never returns.

        The file's bytes are kept beside the embeddings: the next version replaces it, while images
        in hand still have this one.
        """
        seen = ""
        while True:
            try:
                digest = await asyncio.to_thread(_digest, path)
                if digest != seen and (self.current is None or digest != self.current.sha256):
                    kept = self.encoding.cache / "models" / f"{digest}{path.suffix}"
                    await asyncio.to_thread(_copy, path, kept)
                    await self._told(await self.load(kept), told)
                seen = digest
            except FileNotFoundError:
                pass
            except (SaEngineError, OSError) as error:
                seen = digest
                self.error = f"{path} cannot be loaded, the model before stays: {error}"
            await asyncio.sleep(5.0)

    async def _told(self, model: EncoderModel, told: Callable[[EncoderModel], Any]) -> None:
        said = told(model)
        if asyncio.iscoroutine(said):
            await said

    def describe(self, sha256: str | None = None) -> dict[str, Any] | None:
        """A model for the page; the one at hand if none is named. None while none is loaded."""
        key = sha256 or (None if self.current is None else self.current.sha256)
        segmenter = None if key is None else self._segmenters.get(key)
        if segmenter is None:
            return None
        return {
            "name": segmenter.name,
            "sha256": segmenter.sha256,
            "input": segmenter.image_size,
            "encode_s": self.encoding.last_cpu_s,
        }

    def want(
        self, model: EncoderModel, picture: EncodablePicture, rect: Rect | None, urgency: Urgency
    ) -> bool:
        """Ask for a frame, the whole image if `rect` is None; whether it is there."""
        frame = self._frame(model.sha256, picture, rect)

        def make(target: Path) -> Job:
            return Job(
                source=picture.source,
                max_pixels=self._max_pixels,
                frame=frame,
                checkpoint=model.path,
                device=model.device,
                precision=model.precision,
                target=target,
            )

        return self.encoding.want(frame, make, urgency)

    def failure(self, model: EncoderModel, picture: EncodablePicture) -> str | None:
        """Why the model has no embedding of the whole image, if it was tried in vain."""
        return self.encoding.failure(self._frame(model.sha256, picture, None))

    async def answer(
        self,
        annotator: str,
        model: EncoderModel,
        picture: EncodablePicture,
        clicks: Clicks,
        frames: list[Rect],
    ) -> "ClickAnswer":
        """Answer a prompt from the smallest frame that is there and holds all of it.

        Raises RefusedRequest: 429 too many at once, or a preview while anything else is answered;
        202 while no frame is there.
        """
        if clicks.preview and (self._in_hand.total() or self._previews.total()):
            raise RefusedRequest(429, "busy", "clicks are being answered: they go first")
        if self._in_hand[annotator] >= _IN_HAND:
            raise RefusedRequest(429, "busy", "two clicks are being answered: wait for them")
        size_hw = picture.original.size_hw
        segmenter = self._segmenters.get(model.sha256)
        whole = self._frame(model.sha256, picture, None)
        found = [self._frame(model.sha256, picture, rect) for rect in frames]
        fitting = [each for each in found if each.holds(clicks.all_xy(), size_hw)]
        fitting.sort(key=lambda each: each.rect[2] * each.rect[3])
        ready = [each for each in [*fitting, whole] if self.encoding.is_ready(each)]
        if segmenter is None or not ready:
            self.want(model, picture, None, Urgency.OPENED)
            why = self.encoding.failure(whole)
            if why is not None:
                raise RefusedRequest(422, "no-model", f"the model cannot read this image: {why}")
            raise RefusedRequest(202, "preparing", "the image is being encoded")
        counted = self._previews if clicks.preview else self._in_hand
        counted[annotator] += 1
        try:
            chosen = segmenter
            answer: ClickAnswer = await self._decode(lambda: chosen.answer(ready[0], clicks))
            return answer
        except (DamagedError, FileNotFoundError) as error:
            # Removed meanwhile, or no embedding of this model: made anew.
            self.encoding.forget(ready[0])
            raise RefusedRequest(202, "preparing", f"the image is encoded anew: {error}") from error
        finally:
            counted[annotator] -= 1

    def drop_all_but(self, models: set[str]) -> None:
        """Let go of models that no image in hand has."""
        keep = models | ({self.current.sha256} if self.current else set())
        self._segmenters = {key: each for key, each in self._segmenters.items() if key in keep}

    def close(self) -> None:
        """Stop the decoder and the encoder."""
        self._decoder.shutdown(wait=False, cancel_futures=True)
        self.encoding.close()

    async def _decode(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._decoder, work)

    def _frame(self, model: str, picture: EncodablePicture, rect: Rect | None) -> ModelFrame:
        height, width = picture.original.size_hw
        return ModelFrame(model, picture.original.sha256, rect or (0, 0, width, height))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(path: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_suffix(".tmp")
    shutil.copyfile(path, temporary)
    temporary.replace(kept)
