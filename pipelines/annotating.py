"""The assisted-manual stage in a browser: WORK is served until every image is answered, and then
imported (paper, section 4)."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sa_engine.annotate.guard import Allowed
from sa_engine.annotate.image_queue import ImageQueue
from sa_engine.annotate.keeping.event_log import EventLog
from sa_engine.annotate.keeping.ledger import Ledger
from sa_engine.annotate.keeping.work_folder import (
    CACHE,
    locked,
    open_work,
    read_links,
    replace_file,
)
from sa_engine.annotate.models.encoding import Encoding
from sa_engine.annotate.models.model_room import ModelRoom
from sa_engine.annotate.originals import Originals
from sa_engine.annotate.routes import PageSettings
from sa_engine.annotate.server import listen, make_app, serve
from sa_engine.annotate.shown import ShownMasks
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.folder.place import is_url
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.errors import InterruptedRun, UsageError
from sa_engine.evaluation.audit import audit_figures
from sa_engine.formats.registry import Format
from sa_engine.formats.work.folding import ImageState, fold
from sa_engine.formats.work.log import read_journal
from sa_engine.formats.work.settings import Mode, WorkSettings, read_settings
from sa_engine.pipelines.audit import compare, with_verdicts
from sa_engine.pipelines.run.watch import Progress
from sa_engine.pipelines.run.worker import Reading
from sa_engine.pipelines.stages.manual import ImportRun, ImportSummary, run_import

AUDIT_NAME = "audit.json"
"""Of an audit's figures, in WORK."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a WORK is served; nothing of it changes an answer.

    annotators: names that get a link each. port: 0 for a free one.
    public_url: the address that browsers use, behind a proxy.
    hint_seconds: after which a mask's hint to go on appears; 0 for none.
    threads: of the click decoder. cache_gb: embeddings on disk.
    follow_model: a file that is loaded anew whenever it changes.
    """

    annotators: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8765
    public_url: str | None = None
    new_links: bool = False
    hint_seconds: float = 30.0
    threads: int = 1
    cache_gb: float = 8.0
    device: str = "auto"
    precision: str = "auto"
    follow_model: Path | None = None
    accept_damage: bool = False
    prepare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotateRun:
    """What `run_annotate` is told.

    work: the folder of people's answers. settings: None to continue what is there.
    finish: serve nothing; make the dataset of what is answered.
    """

    work: Path
    settings: WorkSettings | None
    serving: Serving = field(default_factory=Serving)
    finish: bool = False


def plan_settings(
    *,
    mode: Mode = Mode.ANNOTATE,
    images: str | None,
    out: Path | str,
    proposals: Path | str | None = None,
    existing: Path | str | None = None,
    model: str | None = None,
    checkpoint: Path | None = None,
    with_model: bool = True,
    sample: int | None = None,
    seed: int = 0,
    order: str = "listed",
    min_area: int = 0,
    reading: Reading | None = None,
    images_per_shard: int = 1000,
    limit: int | None = None,
) -> WorkSettings:
    """The settings of a new WORK. Raises UsageError or DatasetError for paths that cannot work."""
    if mode is Mode.AUDIT and proposals is not None:
        # The images are the dataset's own: they are what its masks were made on.
        images = f"{proposals}/sa_*.tar"
    if images is None:
        raise UsageError("say which images with --images, or continue with --work alone")
    if with_model and checkpoint is None:
        model = _bundled(model).stem
    read = reading or Reading()
    sources = list_sources(images)[:limit]
    return WorkSettings(
        mode=mode,
        images=images if is_url(images) else str(Path(images).absolute()),
        sources=sources.digest(),
        out=str(out) if is_url(out) else str(Path(out).absolute()),
        proposals=None if proposals is None else _pinned(proposals),
        existing=None if existing is None else _pinned(existing),
        model=model if with_model and checkpoint is None else None,
        checkpoint=None if checkpoint is None or not with_model else str(checkpoint.absolute()),
        sample=sample,
        seed=seed,
        order=order,
        min_area=min_area,
        max_pixels=read.max_pixels,
        keep_images=read.keep_images,
        images_per_shard=images_per_shard,
        limit=limit,
    )


def _pinned(path: Path | str) -> tuple[str, str]:
    place = str(path) if is_url(path) else str(Path(path).absolute())
    return place, Dataset(place).digest()


def run_annotate(
    run: AnnotateRun,
    *,
    announce: Callable[[Sequence[tuple[str, str]]], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    encoded: Callable[[int, int], None] = lambda _done, _total: None,
    note: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> ImportSummary:
    """Serve WORK until every image is answered, then make the dataset.

    announce: is given each annotator's link once the server listens. say: a status line, often.
    encoded: is told how far `Serving.prepare` is. note: what people should know.

    Raises UsageError for settings that cannot work, DamagedError for a damaged journal,
    InterruptedRun when a signal stops it: the same command continues.
    """
    if run.settings is not None:
        sources = list_sources(run.settings.images or "")[: run.settings.limit]
        open_work(run.work, run.settings, sources)
    settings = read_settings(run.work)
    if not run.finish:
        with locked(run.work, f"http://{run.serving.host}:{run.serving.port}/"):
            if not _serve(run, settings, announce, say, encoded, note):
                _interrupted(run)
    summary = make_dataset(run.work, settings, progress=progress)
    if settings.mode is Mode.AUDIT and settings.proposals is not None and summary.report:
        returned = with_verdicts(Dataset(settings.out))
        found = compare(returned, Dataset(settings.proposals[0]))
        text = json.dumps(audit_figures(found.masks), indent=1, allow_nan=False) + "\n"
        replace_file(run.work / AUDIT_NAME, text.encode("ascii"))
    return summary


def make_dataset(
    work: Path, settings: WorkSettings, *, progress: Progress | None = None
) -> ImportSummary:
    """The dataset of what is answered so far."""
    reading = Reading(max_pixels=settings.max_pixels, keep_images=settings.keep_images)
    return run_import(
        ImportRun(
            annotations=work,
            out=settings.out,
            images=settings.images,
            format=Format.ANNOTATE,
            proposals=None if settings.proposals is None else settings.proposals[0],
            images_per_shard=settings.images_per_shard,
            reading=reading,
        ),
        progress=progress,
    )


def _serve(
    run: AnnotateRun,
    settings: WorkSettings,
    announce: Callable[[Sequence[tuple[str, str]]], None],
    say: Callable[[str], None],
    encoded: Callable[[int, int], None],
    note: Callable[[str], None],
) -> bool:
    serving = run.serving
    events = read_journal(run.work).believed(accept_damage=serving.accept_damage)
    tokens = read_links(run.work, serving.annotators, renew=serving.new_links)
    listener = listen(serving.host, serving.port)
    host, port = listener.getsockname()[:2]
    sources = FrozenInputs(open_folder(run.work)).all()

    async def work() -> bool:
        with EventLog.resume(run.work) as log:
            room = _room(run.work, settings, serving)
            queue = ImageQueue(
                run.work,
                settings,
                Originals(sources, max_pixels=settings.max_pixels),
                Ledger(log, fold(events)),
                room=room,
                proposals=_shown(settings.proposals),
                existing=_shown(settings.existing),
            )
            queue.restore_leases(events)
            if serving.prepare:
                await _encode_all(queue, encoded, note)
            work_id = hashlib.sha256(str(run.work.absolute()).encode()).hexdigest()[:16]
            page = PageSettings(serving.hint_seconds, work_id)
            app = make_app(queue, tokens, page, Allowed.of(serving.host, port, serving.public_url))
            base = serving.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
            announce([(name, f"{base}/#token={token}") for name, token in tokens.items()])
            return await serve(app, listener, queue, follow=serving.follow_model, say=say)

    return asyncio.run(work())


async def _encode_all(
    queue: ImageQueue, encoded: Callable[[int, int], None], note: Callable[[str], None]
) -> None:
    try:
        ready = await queue.encode_all(encoded)
    except BaseException:
        queue.close()
        raise
    left = queue.counts()[ImageState.OPEN.value] - ready
    if queue.room is not None and left:
        note(
            f"{left} images are not encoded: they cannot be read, or --cache-gb is too small for "
            "all of them"
        )


def _room(work: Path, settings: WorkSettings, serving: Serving) -> ModelRoom | None:
    if settings.model is None and settings.checkpoint is None:
        return None
    named = settings.checkpoint
    return ModelRoom(
        _bundled(settings.model) if named is None else Path(named),
        Encoding(work / CACHE, limit_bytes=int(serving.cache_gb * 1e9)),
        device=serving.device,
        precision=serving.precision,
        max_pixels=settings.max_pixels,
        threads=serving.threads,
    )


def _bundled(name: str | None) -> Path:
    # Here alone, for it loads the deep learning library, which the brush alone does without.
    from sa_engine.model.weights import DEFAULT_MODEL, bundled_model

    return bundled_model(name or DEFAULT_MODEL)


def _shown(pinned: tuple[str, str] | None) -> ShownMasks | None:
    if pinned is None:
        return None
    dataset = Dataset(pinned[0])
    if dataset.digest() != pinned[1]:
        raise UsageError(f"{pinned[0]} was changed since WORK was begun: restore it, or begin anew")
    return ShownMasks(dataset)


def _interrupted(run: AnnotateRun) -> None:
    answers = fold(read_journal(run.work).believed(accept_damage=run.serving.accept_damage))
    done = sum(work.answered is not None for work in answers.images.values())
    raise InterruptedRun(
        f"{done} images are answered; `sa-engine annotate --work {run.work}` continues, and "
        f"`sa-engine import {run.work} --out snapshot/` makes a dataset of "
        "what is there"
    )
