"""The mean of weights."""

from pathlib import Path

import pytest
import torch

from sa_engine.cli.main import main
from sa_engine.errors import UsageError
from sa_engine.model.average import average
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint, read_card, save_checkpoint
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam

TOKEN = "mask_decoder.iou_token.weight"


def stemmed(origin: Sam, shift: float) -> Sam:
    """A model whose weights are moved from those of another."""
    sam = build_sam("vit_t", image_size=64)
    sam.load_state_dict(origin.state_dict())
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(shift)
    return sam


@pytest.fixture
def origin() -> Sam:
    torch.manual_seed(3)
    return build_sam("vit_t", image_size=64)


def test_the_mean_lies_between(origin: Sam) -> None:
    sams = [stemmed(origin, shift) for shift in (0.25, 0.5, 0.75)]
    mean = average(sams)
    for (name, value), (_, start) in zip(
        mean.named_parameters(), origin.named_parameters(), strict=True
    ):
        torch.testing.assert_close(value, start + 0.5, msg=name)


def test_models_with_nothing_in_common_have_no_mean(origin: Sam) -> None:
    torch.manual_seed(4)
    stranger = build_sam("vit_t", image_size=64)
    with pytest.raises(UsageError, match="do not stem from the same weights"):
        average([origin, stranger])
    with pytest.raises(UsageError, match="vit_t at 64 px and a vit_t at 128 px have no mean"):
        average([origin, build_sam("vit_t", image_size=128)])
    with pytest.raises(UsageError, match="at least two"):
        average([origin])


def test_the_command(
    origin: Sam, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        card = ModelCard(
            name=f"run-{number}",
            variant="vit_t",
            image_size=64,
            data=("photographs", f"set {number}"),
            options={"train.seed": number},
            results={"mean": 0.5},
            pred_iou_thresh=0.4,
        )
        save_checkpoint(stemmed(origin, number / 4), tmp_path / f"{number}.safetensors", card)
    asked = ["model", "average", "1.safetensors", "2.safetensors", "--out", "mean.safetensors"]

    def run(*more: str) -> str:
        with pytest.raises(SystemExit):
            main([*asked, *more])
        return "".join(capsys.readouterr())

    assert "mean.safetensors: vit_t at 128 px" in run("--image-size", "128")
    made = read_card(tmp_path / "mean.safetensors")
    assert (made.name, made.image_size, made.pred_iou_thresh) == ("mean", 128, 0.4)
    assert made.data == ("photographs", "set 1", "set 2")
    assert made.options["average_of"] == [
        {"name": "run-1", "train.seed": 1},
        {"name": "run-2", "train.seed": 2},
    ]
    assert made.results == {}
    token = load_checkpoint(tmp_path / "mean.safetensors").state_dict()[TOKEN]
    torch.testing.assert_close(token, origin.state_dict()[TOKEN] + 0.375, atol=2e-3, rtol=1e-3)
    assert "is there already: give --force to replace it" in run()
    assert "mean.safetensors" in run("--force")
    asked[-1] = "mean.pth"
    assert "the name of mean.pth must end in .safetensors" in run()
