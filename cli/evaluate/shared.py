"""What the subcommands of `sa-engine evaluate` share."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.progress import Meter, count
from sa_engine.dataset.folder.base import short_names
from sa_engine.dataset.reader import Dataset
from sa_engine.errors import UsageError
from sa_engine.evaluation.points import chosen_images
from sa_engine.evaluation.results import write_rows
from sa_engine.model.checkpoint import load_checkpoint, read_card, save_checkpoint
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.sam import Sam
from sa_engine.model.weights import DEFAULT_MODEL, bundled_model
from sa_engine.pipelines.stages.import_report import read_report

T = TypeVar("T")


def open_sets(paths: Sequence[Path | str]) -> dict[str, Dataset]:
    """Datasets by a short name: the folder's, with its parent's where two are the same."""
    names = [short_names(path) for path in paths]
    opened: dict[str, Dataset] = {}
    for path, (parent, name) in zip(paths, names, strict=True):
        is_unique = [each for _, each in names].count(name) == 1
        unique = name if is_unique else f"{parent}/{name}"
        if unique in opened:
            raise UsageError(f"{path} is given twice, or two sets have the same name {unique}")
        opened[unique] = Dataset(path)
    for name, dataset in opened.items():
        chosen_images(dataset, name, None)
    return opened


def load_model(options: dict[str, Any]) -> tuple[Sam, str]:
    """The model that the options name, and its name. UsageError if they name two."""
    if options["checkpoint"] is not None and options["model"] is not None:
        raise UsageError("give --model or --checkpoint, not both")
    if options["checkpoint"] is not None:
        path = Path(options["checkpoint"])
        name = path.stem
    else:
        name = options["model"] or DEFAULT_MODEL
        path = bundled_model(name)
    return load_checkpoint(path, image_size=options["image_size"]), name


def category_frequencies(dataset: Dataset) -> Mapping[int, str]:
    """LVIS's letters for how frequent categories are, by the source's numbers; empty for others."""
    listed = (read_report(dataset.folder) or {}).get("categories") or ()
    return {
        each["id"]: each["frequency"]
        for each in listed
        if isinstance(each, dict)
        and isinstance(each.get("id"), int)
        and isinstance(each.get("frequency"), str)
    }


def bar(parts: Iterable[T], total: int, title: str) -> Iterator[T]:
    """The parts, with a meter of images while they are made."""
    with Meter(title, total=total) as meter:
        for part in parts:
            yield part
            meter.step()


def write(out: Path | None, rows: Sequence[Any]) -> None:
    """Write a Parquet or CSV file and say so, if a file is wanted."""
    if out is not None:
        write_rows(out, rows)
        console().say(f"\n{out}: {count(len(rows), 'row')}")


def change_card(checkpoint: Path, **changes: Any) -> None:
    """Replace fields of the card inside an engine's weights file and say so."""
    if checkpoint.suffix != ".safetensors":
        raise UsageError(
            f"{checkpoint} has no card; `sa-engine model convert` makes a file with one"
        )
    card = dataclasses.replace(read_card(checkpoint), **changes)
    save_checkpoint(load_checkpoint(checkpoint), checkpoint, card)
    console().say(f"{checkpoint}: card written")


def precision_name(name: str, device: str) -> str:
    """The name of the precision that a device gets where `name` is "auto"."""
    names = {"torch.float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16"}
    return names[str(choose_precision(name, choose_device(device)))]
