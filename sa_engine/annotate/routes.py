"""HTTP: who asks for what, and the answers. See `Desk`, `ImageQueue` and `ModelRoom`."""

import asyncio
import json
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sa_engine.annotate import bodies
from sa_engine.annotate.desk import Desk
from sa_engine.annotate.guard import annotator_of
from sa_engine.annotate.image_queue import ImageQueue
from sa_engine.annotate.models.encoding import EncoderModel, Urgency
from sa_engine.annotate.models.model_room import EncodablePicture
from sa_engine.annotate.overview import overview
from sa_engine.annotate.practice import practice_image, practice_picture
from sa_engine.annotate.responses import error_response, json_response, no_content, read_object
from sa_engine.errors import ImageError, RefusedRequest
from sa_engine.masks.rle import Rle

if TYPE_CHECKING:
    from sa_engine.annotate.models.segmenter import ClickAnswer

MASK_BYTES = 8 << 20
DRAFT_BYTES = 2 << 20
_LOGIT_STEPS = 256
"""int16 steps of a logit: with int8 the page's masks differed by up to 2 % IoU."""

Handler = Callable[[Request, str], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What the page is told of how the server was started."""

    hint_seconds: float
    work_id: str


class Routes:
    """The API. tokens: of each annotator."""

    def __init__(
        self, queue: ImageQueue, desk: Desk, tokens: Mapping[str, str], page: PageSettings
    ) -> None:
        self._queue, self._desk, self._tokens, self._page = queue, desk, tokens, page

    def all(self) -> list[BaseRoute]:
        """The routes, for an application."""
        image = "/api/images/{image:int}"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/api/session", self._session),
            ("GET", "/api/overview", self._overview),
            ("POST", "/api/next", self._next),
            ("POST", f"{image}/open", self._open),
            ("POST", f"{image}/lease", self._renew),
            ("DELETE", f"{image}/lease", self._give_back),
            ("GET", image + "/picture/{digest}", self._picture),
            ("PUT", f"{image}/frames", self._frame),
            ("POST", f"{image}/predict", self._predict),
            ("PUT", image + "/masks/{mask}", self._put_mask),
            ("DELETE", image + "/masks/{mask}", self._remove_mask),
            ("PUT", image + "/proposals/{proposal:int}", self._put_verdict),
            ("PUT", f"{image}/state", self._put_state),
            ("PUT", f"{image}/draft", self._put_draft),
            ("POST", "/api/practice", self._practice),
            ("GET", "/api/practice/picture", self._practice_picture),
            ("PUT", "/api/practice/frames", self._practice_frame),
            ("POST", "/api/practice/predict", self._practice_predict),
        ]
        return [
            Route(path, self._for_annotators(handler), methods=[method])
            for method, path, handler in table
        ]

    def _for_annotators(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            annotator = annotator_of(request.headers.get("authorization", ""), self._tokens)
            if annotator is None:
                return error_response(401, "no-token", "open the link that the server printed")
            try:
                return await handler(request, annotator)
            except RefusedRequest as refused:
                return error_response(refused.status, refused.code, str(refused), **refused.details)
            except ImageError as error:
                return error_response(422, "unreadable", error.message)

        return handle

    async def _session(self, _request: Request, annotator: str) -> Response:
        settings, room = self._queue.settings, self._queue.room
        return json_response(
            {
                "annotator": annotator,
                "work": self._page.work_id,
                "mode": settings.mode.value,
                "hint_seconds": self._page.hint_seconds,
                "min_area": settings.min_area,
                "has_proposals": settings.proposals is not None,
                "has_model": room is not None,
                "model": None if room is None else room.describe(),
                "model_error": None if room is None else room.error,
                "counts": self._queue.counts(),
            }
        )

    async def _overview(self, _request: Request, _annotator: str) -> Response:
        return json_response(overview(self._queue))

    async def _next(self, request: Request, annotator: str) -> Response:
        body = await read_object(request)
        after = body.get("after")
        image = await self._queue.next_image(
            annotator,
            bodies.uuid(body, "tab"),
            after=after if isinstance(after, int) else None,
        )
        return no_content() if image is None else json_response(image)

    async def _open(self, request: Request, annotator: str) -> Response:
        tab = bodies.uuid(await read_object(request), "tab")
        return json_response(await self._queue.open_image(annotator, tab, _image(request)))

    async def _renew(self, request: Request, annotator: str) -> Response:
        self._queue.lease(annotator, _image(request), _lease(request))
        room = self._queue.room
        model = None if room is None else room.describe()
        return json_response({"until_s": 90, "model": model, "counts": self._queue.counts()})

    async def _give_back(self, request: Request, annotator: str) -> Response:
        self._queue.lease(annotator, _image(request), _lease(request))
        self._queue.release(_image(request), _lease(request))
        return no_content()

    async def _picture(self, request: Request, _annotator: str) -> Response:
        original = await self._queue.original(_image(request))
        if original.sha256 != request.path_params["digest"]:
            raise RefusedRequest(404, "other-picture", "the image's file was changed meanwhile")
        headers = {"cache-control": "private, max-age=604800, immutable"}
        return Response(original.data, media_type=original.media_type, headers=headers)

    async def _frame(self, request: Request, annotator: str) -> Response:
        body = await read_object(request)
        self._queue.lease(annotator, _image(request), _lease(request))
        picture = await self._queue.picture(_image(request))
        return self._want_frame(body, self._queue.model(_lease(request)), picture)

    def _want_frame(
        self, body: bodies.Body, model: EncoderModel | None, picture: EncodablePicture
    ) -> Response:
        room = self._queue.room
        if room is None or model is None:
            raise RefusedRequest(202, "preparing", "no model is loaded")
        rect = bodies.rect(body.get("rect"), picture.original.size_hw)
        is_ready = room.want(model, picture, rect, Urgency.FRAME)
        return json_response({"ready": is_ready}, 200 if is_ready else 202)

    async def _predict(self, request: Request, annotator: str) -> Response:
        body = await read_object(request)
        image_id = _image(request)
        self._queue.lease(annotator, image_id, _lease(request))
        picture = await self._queue.picture(image_id)
        base = self._desk.base(image_id, picture.original, body.get("base"))
        model = self._queue.model(_lease(request))
        return await self._answer(request, annotator, body, model, picture, base)

    async def _answer(
        self,
        request: Request,
        annotator: str,
        body: bodies.Body,
        model: EncoderModel | None,
        picture: EncodablePicture,
        base: Rle | None,
    ) -> Response:
        room = self._queue.room
        if room is None or model is None:
            if room is None:
                raise RefusedRequest(422, "no-model", "this WORK has no model")
            raise RefusedRequest(202, "preparing", "the model is being loaded")
        size_hw = picture.original.size_hw
        clicks = bodies.clicks(body, size_hw, base)
        frames = body.get("frames", [])
        if not isinstance(frames, list) or len(frames) > 16:
            raise bodies.refuse("frames must be a list of at most 16")
        rects = [bodies.rect(each, size_hw) for each in frames]
        answer = await room.answer(annotator, model, picture, clicks, rects)
        return _logits_response(request, answer, body.get("seq"), model.sha256)

    async def _put_mask(self, request: Request, annotator: str) -> Response:
        body = await read_object(request, MASK_BYTES)
        kept = await self._desk.put_mask(
            annotator, _image(request), _lease(request), _uuid(request, "mask"), body
        )
        return json_response(kept)

    async def _remove_mask(self, request: Request, annotator: str) -> Response:
        body = await read_object(request)
        await self._desk.remove_mask(
            annotator, _image(request), _lease(request), _uuid(request, "mask"), body
        )
        return json_response({})

    async def _put_verdict(self, request: Request, annotator: str) -> Response:
        body = await read_object(request)
        proposal = int(request.path_params["proposal"])
        await self._desk.put_verdict(annotator, _image(request), _lease(request), proposal, body)
        return json_response({})

    async def _put_state(self, request: Request, annotator: str) -> Response:
        body = await read_object(request)
        await self._desk.put_state(annotator, _image(request), _lease(request), body)
        return json_response({"counts": self._queue.counts()})

    # Practice: no lease, no journal, no draft. All that is asked for is in the request.

    async def _practice(self, _request: Request, _annotator: str) -> Response:
        room, picture = self._queue.room, await self._practised()
        if room is not None and room.current is not None:
            room.want(room.current, picture, None, Urgency.OPENED)
        model = None if room is None else room.describe()
        return json_response({"lease": None, "image": practice_image(model)})

    async def _practice_picture(self, _request: Request, _annotator: str) -> Response:
        original = (await self._practised()).original
        headers = {"cache-control": "no-store"}
        return Response(original.data, media_type=original.media_type, headers=headers)

    async def _practice_frame(self, request: Request, _annotator: str) -> Response:
        body, room = await read_object(request), self._queue.room
        model = None if room is None else room.current
        return self._want_frame(body, model, await self._practised())

    async def _practice_predict(self, request: Request, annotator: str) -> Response:
        body, room = await read_object(request, MASK_BYTES), self._queue.room
        picture = await self._practised()
        said = body.get("base")
        size_hw = picture.original.size_hw
        base = bodies.mask_rle(said, size_hw, min_area=1) if isinstance(said, dict) else None
        model = None if room is None else room.current
        return await self._answer(request, annotator, body, model, picture, base)

    async def _practised(self) -> EncodablePicture:
        room = self._queue.room
        cache = None if room is None else room.encoding.cache
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._queue.readers, practice_picture, cache)

    async def _put_draft(self, request: Request, annotator: str) -> Response:
        body = await read_object(request, DRAFT_BYTES)
        await self._desk.put_draft(annotator, _image(request), body.get("draft"))
        return no_content()


def _logits_response(request: Request, answer: "ClickAnswer", seq: object, model: str) -> Response:
    """A length (uint32, little end first), JSON, then int16 logits of all candidates."""
    _, side, _ = answer.logits.shape
    head = json.dumps(
        {
            "seq": seq,
            "prediction": answer.id,
            "model": model,
            "frame": list(answer.frame.rect),
            "input_hw": list(answer.input_hw),
            "side": side,
            "iou": list(answer.iou),
            "area": list(answer.area),
        }
    ).encode("ascii")
    head += b" " * (-len(head) % 4)
    steps = np.clip(np.rint(answer.logits * _LOGIT_STEPS), -32768, 32767).astype("<i2")
    data = struct.pack("<I", len(head)) + head + steps.tobytes()
    headers = {"cache-control": "no-store"}
    peer = request.client.host if request.client else ""
    if peer not in ("127.0.0.1", "::1") and "deflate" in request.headers.get("accept-encoding", ""):
        data = zlib.compress(data, 1)
        headers["content-encoding"] = "deflate"
    return Response(data, media_type="application/octet-stream", headers=headers)


def _image(request: Request) -> int:
    return int(request.path_params["image"])


def _lease(request: Request) -> str:
    return request.headers.get("x-lease", "")


def _uuid(request: Request, key: str) -> str:
    return bodies.uuid(request.path_params, key)
