"""Options of what a training run learns from: datasets and how often each is drawn."""

import click

from sa_engine.cli.shared.options import all_of
from sa_engine.cli.shared.places import PLACE
from sa_engine.errors import UsageError

data_options = all_of(
    click.option(
        "--data",
        "data",
        multiple=True,
        type=PLACE,
        help="A dataset to train on, or a pack of some (`train pack`); may be given several times.",
    ),
    click.option(
        "--weight",
        "weight",
        multiple=True,
        metavar="NAME=NUMBER",
        help="How often a set, or the masks of a stage, are drawn, as coco=20 or manual=10. "
        "A set without one has the square root of its number of images.",
    ),
)


def parse_weights(texts: tuple[str, ...]) -> dict[str, float]:
    """`name=number` texts as a mapping. UsageError for other texts."""
    weights: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise UsageError(
                f"--weight {text!r} is not NAME=NUMBER; an example: --weight manual=10"
            )
    return weights
