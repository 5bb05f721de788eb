"""One self-contained HTML page that tells a loop's story: curves and a table, round by round.

As the paper tells its own (section 4): how good the model is, how many masks an image has, and
which stage made them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import resources

from sa_engine.report.charts.rounds import Bar, Dot, bars_svg, dots_svg, stacks_svg

STAGE_COLOURS = {"manual": "#4269d0", "semi-automatic": "#efb118", "automatic": "#3ca951"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """What the page says of a round.

    own, low, high: mean IoU on the held-out masks with its 95 % interval; oracle: best of three.
    promoted: None if the round trained no model.
    images, masks: gathered in it. masks_by_stage: gathered until then, all rounds together.
    precision: share of proposals that people took over. share_not_drawn: of the masks.
    mask_seconds: that a mask took people. seconds: that the engine took.
    """

    name: str
    progress: str
    own: float | None = None
    low: float | None = None
    high: float | None = None
    oracle: float | None = None
    promoted: bool | None = None
    images: int = 0
    masks: int = 0
    masks_by_stage: Mapping[str, int] = field(default_factory=dict)
    precision: float | None = None
    share_not_drawn: float | None = None
    mask_seconds: float | None = None
    seconds: float = 0.0

    @property
    def masks_per_image(self) -> float | None:
        """Masks of an image that was gathered in the round."""
        return self.masks / self.images if self.images else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPage:
    """The page's content.

    start: mean IoU of the model that the loop starts from. waiting: what people have to do.
    """

    title: str
    start: float | None
    rounds: tuple[RoundRow, ...]
    waiting: str | None = None


def loop_page(page: LoopPage) -> str:
    """The page. Nothing is loaded from elsewhere; it holds no script."""
    template = resources.files("sa_engine.report").joinpath("loop.html").read_text("utf-8")
    parts = {
        "title": escape(page.title),
        "lead": _lead(page),
        "curves": "\n".join(curves(page).values()),
        "table": _table(page),
    }
    for name, text in parts.items():
        template = template.replace("{{" + name + "}}", text)
    return template


def curves(page: LoopPage) -> dict[str, str]:
    """The curves as SVG texts, by "iou", "masks" and "stages"."""
    dots = [] if page.start is None else [Dot("start", page.start, page.start, page.start)]
    for row in page.rounds:
        if row.own is not None and row.low is not None and row.high is not None:
            dots.append(Dot(row.name, row.own, row.low, row.high, filled=bool(row.promoted)))
    bars = [
        Bar(row.name, row.masks_per_image) for row in page.rounds if row.masks_per_image is not None
    ]
    stacks = [(row.name, row.masks_by_stage) for row in page.rounds if row.masks_by_stage]
    return {
        "iou": dots_svg("Mean IoU on held-out masks", dots),
        "masks": bars_svg("Masks per image, by round", bars),
        "stages": stacks_svg("Masks by stage, all rounds until then", stacks, STAGE_COLOURS),
    }


def _lead(page: LoopPage) -> str:
    promoted = [row for row in page.rounds if row.promoted and row.own is not None]
    best = promoted[-1] if promoted else None
    done = sum(row.progress == "done" for row in page.rounds)
    text = f"{done} of {len(page.rounds)} rounds are done."
    if page.start is not None and best is not None and best.own is not None:
        gain = best.own - page.start
        text += (
            f" Mean IoU went from {page.start:.3f} to {best.own:.3f} ({gain:+.3f}); in force is the"
            f" model of round {best.name}."
        )
    lines = [f"<p>{escape(text)}</p>"]
    if page.waiting is not None:
        lines.append(f'<p class="waiting">{escape(page.waiting)}</p>')
    return "\n".join(lines)


def _table(page: LoopPage) -> str:
    heads = ["round", "state", "mean IoU", "95 %", "best of 3", "model", "images", "masks"]
    heads += ["masks/image", "proposals taken", "not drawn", "s/mask (people)", "time (engine)"]
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for row in page.rounds:
        interval = "" if row.low is None else f"{row.low:.3f}–{row.high:.3f}"
        verdict = {None: "", True: "promoted", False: "not promoted"}[row.promoted]
        cells = [
            escape(row.name),
            escape(row.progress),
            _number(row.own, 3),
            interval,
            _number(row.oracle, 3),
            verdict,
            f"{row.images:,}",
            f"{row.masks:,}",
            _number(row.masks_per_image, 1),
            _percent(row.precision),
            _percent(row.share_not_drawn),
            _number(row.mask_seconds, 1),
            _duration(row.seconds),
        ]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
