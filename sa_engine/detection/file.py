"""A detector on disk: safetensors with one metadata entry, its `DetectorCard`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from sa_engine.dataset.folder.draft import written_whole
from sa_engine.detection.card import DetectorCard
from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.encoder import encoder_digest, finer_channels
from sa_engine.detection.network import Detector
from sa_engine.errors import CheckpointError, UsageError
from sa_engine.model.checkpoint import check_finite
from sa_engine.model.sam import Sam
from sa_engine.model.weights import DETECTOR_ENDING, WEIGHTS_DIR

CARD_KEY = "sa_engine_detector_card"


def build_detector(config: DetectorConfig, sam: Sam) -> Detector:
    """A detector for a model's image encoder, random weights."""
    return Detector(
        config,
        image_size=sam.image_size,
        embedding_channels=embedding_channels(sam),
        finer_channels=finer_channels(sam),
    )


def save_detector(
    detector: Detector, path: Path | str, card: DetectorCard, dtype: torch.dtype = torch.float16
) -> None:
    """Write the file, whole or not at all; same detector and card, same bytes."""
    path = Path(path)
    tensors = {
        name: value.detach().cpu().to(dtype).contiguous()
        for name, value in detector.state_dict().items()
    }
    # One metadata entry: the writer puts several in no fixed order.
    data = safetensors.torch.save(tensors, metadata={CARD_KEY: card.to_json()})
    with written_whole(path) as draft:
        draft.write_bytes(data)


def is_detector(path: Path | str) -> bool:
    """Whether a file says that it holds a detector; False for one that cannot be read."""
    path = Path(path)
    try:
        return path.is_file() and CARD_KEY in _metadata(path)
    except CheckpointError:
        return False


def read_detector_card(path: Path | str) -> DetectorCard:
    """The card of a detector's file.

    Raises UsageError if there is no such file, CheckpointError if it does not hold a detector.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the detector's file itself")
    if not path.exists():
        raise UsageError(
            f"there is no detector {path}; `sa-engine train detector --out {path}` makes one"
        )
    text = _metadata(path).get(CARD_KEY)
    if text is None:
        raise CheckpointError(
            f"{path} holds no detector (its metadata has no {CARD_KEY}); "
            "give a file that `sa-engine train detector` wrote"
        )
    return DetectorCard.from_json(text)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            found: dict[str, str] | None = file.metadata()
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    return found or {}


def load_detector(path: Path | str, sam: Sam) -> Detector:
    """Load a detector for inference on `sam`, float32, on the CPU.

    sam: as it was loaded, before any cast: its encoder's weights are compared with the card.

    Raises UsageError if there is no such file, CheckpointError if it holds no detector, or one for
    another image encoder.
    """
    _check_encoder(read_detector_card(path), sam, Path(path))
    return read_network(path, sam)


def check_weights(path: Path) -> None:
    """CheckpointError if a detector's weights cannot be read or are no numbers."""
    check_finite(_tensors(path), path)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (ValueError, safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} does not hold a whole detector: {error}") from error


def read_network(path: Path | str, sam: Sam) -> Detector:
    """A detector's network, float32, on the CPU, whichever encoder it was trained on.

    Its answers mean something on `sam` only if that is the same encoder; else it is a start for
    training. Raises UsageError and CheckpointError as `load_detector`, also where `sam` has maps of
    other widths.
    """
    path = Path(path)
    card = read_detector_card(path)
    tensors = _tensors(path)
    try:
        config = DetectorConfig(**card.net)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold a whole detector: {error}") from error
    detector = build_detector(config, sam)
    expected = detector.state_dict()
    wrong = sorted(
        name
        for name in {*tensors, *expected}
        if name not in tensors
        or name not in expected
        or tensors[name].shape != expected[name].shape
    )
    if wrong:
        shown = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise CheckpointError(
            f"{path} does not hold a whole detector: missing or misshapen {shown}"
        )
    check_finite(tensors, path)
    detector.load_state_dict({name: value.float() for name, value in tensors.items()})
    return detector.eval()


def bundled_detector(model: str) -> Path | None:
    """The detector that comes with a bundled model, if there is one."""
    path = WEIGHTS_DIR / f"{model}{DETECTOR_ENDING}"
    return path if path.is_file() else None


def detector_standing_on(sam: Sam) -> Path | None:
    """The bundled detector that fits a model's image encoder, if there is one.

    It fits a model whose decoder alone was trained on, too. sam: before any cast.
    """
    digest = encoder_digest(sam)
    files = sorted(WEIGHTS_DIR.glob(f"*{DETECTOR_ENDING}"))
    return next((f for f in files if read_detector_card(f).encoder_sha256 == digest), None)


def net_options(config: DetectorConfig) -> dict[str, Any]:
    """A network's options for its card."""
    return asdict(config)


def _check_encoder(card: DetectorCard, sam: Sam, path: Path) -> None:
    there = f"{card.variant} at {card.image_size} px"
    here = f"{sam.variant} at {sam.image_size} px"
    if there != here:
        what = f"it is for a {there}, this model is a {here}"
    elif card.encoder_sha256 != (found := encoder_digest(sam)):
        what = f"it is for encoder {card.encoder_sha256[:12]}, this model has {found[:12]}"
    else:
        return
    raise CheckpointError(
        f"the detector {path} belongs to another image encoder, that of {card.model!r}: {what}. "
        "Give that model, or train a detector for this one: sa-engine train detector"
    )


def embedding_channels(sam: Sam) -> int:
    """Of the encoder's embedding: those of the decoder's tokens."""
    return int(sam.mask_decoder.iou_token.weight.shape[1])
