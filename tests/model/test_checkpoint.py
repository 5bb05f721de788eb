import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from sa_engine.errors import CheckpointError, OutputError, UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import (
    export_public,
    load_checkpoint,
    read_card,
    resize_positions,
    save_checkpoint,
)
from sa_engine.model.sam import Sam
from sa_engine.model.sizes import VIT_SIZES, VitSize
from sa_engine.model.variants import build_sam
from tests.support.weights import randomise

SIZE = 128
CARD = ModelCard(name="small", variant="vit_t", image_size=SIZE, data=("scenes",))


@pytest.fixture(scope="module")
def sam() -> Sam:
    sam = build_sam("vit_t", SIZE)
    randomise(sam, seed=0)
    return sam.eval()


@pytest.fixture
def vit_b(monkeypatch: pytest.MonkeyPatch) -> Sam:
    """A ViT-B that is small: what is discovered is its name, by the width."""
    monkeypatch.setitem(VIT_SIZES, "vit_b", VitSize(64, 3, 4, (1,)))
    sam = build_sam("vit_b", SIZE)
    randomise(sam, seed=1)
    return sam.eval()


def assert_same(found: Sam, expected: Sam) -> None:
    ours, theirs = found.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def public(sam: Sam) -> dict[str, Tensor]:
    return dict(sam.state_dict())


def test_safetensors_round_trip(sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / "a model.safetensors"
    save_checkpoint(sam, path, CARD, dtype=torch.float32)
    found = load_checkpoint(path)
    assert (found.variant, found.image_size, found.training) == ("vit_t", SIZE, False)
    assert_same(found, sam)
    assert all(p.requires_grad for p in found.parameters())
    assert read_card(path) == CARD
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_half_precision_on_disk(sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    huge = build_sam("vit_t", SIZE)
    huge.load_state_dict(sam.state_dict())
    with torch.no_grad():
        huge.mask_decoder.iou_token.weight[0, 0] = 1e6  # float16 ends at 65504
    save_checkpoint(huge, path, CARD)
    stored = safetensors.torch.load_file(path)
    assert stored["mask_decoder.mask_tokens.weight"].dtype == torch.float16
    assert stored["mask_decoder.iou_token.weight"].dtype == torch.float32
    assert stored["image_encoder.patch_embed.seq.0.bn.running_var"].dtype == torch.float32
    positions = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    assert torch.equal(stored[positions], sam.state_dict()[positions])
    found = load_checkpoint(path)
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    for name, tensor in huge.state_dict().items():
        assert torch.allclose(found.state_dict()[name], tensor, rtol=1e-3, atol=1e-6), name


def test_same_model_same_bytes(sam: Sam, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_checkpoint(sam, tmp_path / name, CARD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_card_must_fit(sam: Sam, tmp_path: Path) -> None:
    card = ModelCard(name="small", variant="vit_t", image_size=1024)
    with pytest.raises(ValueError, match="the card says vit_t at 1024, the model is vit_t at 128"):
        save_checkpoint(sam, tmp_path / "a", card)


def test_an_interrupted_write_leaves_the_old_file(
    sam: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OutputError, match="disk is full"):
        save_checkpoint(sam, path, CARD)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_public_file_of_mobile_sam(sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / "mobile_sam.pt"
    export_public(sam, path)
    stored = torch.load(path, weights_only=True)
    # The public loader is strict about a classifier that is never used.
    assert stored["image_encoder.head.weight"].shape == (1000, 320)
    assert stored["image_encoder.norm_head.bias"].shape == (320,)
    # Some public files carry tables that others compute.
    stored["image_encoder.layers.1.blocks.0.attn.attention_bias_idxs"] = torch.zeros(49, 49)
    stored["pixel_mean"] = torch.zeros(3, 1, 1)
    torch.save(stored, path)
    found = load_checkpoint(path)
    assert (found.variant, found.image_size) == ("vit_t", 1024)
    assert_same(found, sam)
    assert read_card(path) == ModelCard(
        name="mobile_sam", variant="vit_t", image_size=1024, engine_version=""
    )


def test_public_file_of_vit_b(vit_b: Sam, tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b_01ec64.pth"
    export_public(vit_b, path)
    assert torch.load(path, weights_only=True).keys() == vit_b.state_dict().keys()
    found = load_checkpoint(path)
    assert (found.variant, found.image_size) == ("vit_b", SIZE)
    assert_same(found, vit_b)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_wrapped_by_a_training_program(sam: Sam, tmp_path: Path, key: str) -> None:
    path = tmp_path / "last.pth"
    state = {f"module.{name}": t for name, t in sam.state_dict().items()}
    torch.save({key: state, "epoch": 3}, path)
    assert_same(load_checkpoint(path), sam)


def test_decoder_depth_is_found(tmp_path: Path) -> None:
    deep = build_sam("vit_t", SIZE, decoder_depth=3)
    save_checkpoint(deep, tmp_path / "deep", CARD, dtype=torch.float32)
    assert_same(load_checkpoint(tmp_path / "deep"), deep)


def test_another_input_size(vit_b: Sam, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    card = ModelCard(name="b", variant="vit_b", image_size=SIZE)
    save_checkpoint(vit_b, path, card, dtype=torch.float32)
    larger = load_checkpoint(path, image_size=2 * SIZE)
    assert larger.image_size == 2 * SIZE
    weights = larger.state_dict()
    assert weights["image_encoder.pos_embed"].shape == (1, 16, 16, 64)
    assert weights["image_encoder.blocks.1.attn.rel_pos_h"].shape == (31, 16)
    assert weights["image_encoder.blocks.0.attn.rel_pos_h"].shape == (27, 16)


def test_positions_are_interpolated(vit_b: Sam) -> None:
    name = "image_encoder.blocks.1.attn.rel_pos_h"
    found = resize_positions({name: torch.linspace(-3, 3, 7)[:, None].expand(7, 16)}, vit_b)[name]
    assert found.shape == (15, 16)
    # Still a straight line through zero, flat where it leaves the old table's ends.
    assert math.isclose(float(found[7, 0]), 0.0, abs_tol=1e-6)
    torch.testing.assert_close(found[8, 0] - found[7, 0], torch.tensor(7 / 15))


def test_one_error_lists_all_disagreements(sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / "broken.pth"
    state = {k: v for k, v in public(sam).items() if "iou_prediction_head" not in k}
    state["mask_decoder.iou_token.weight"] = torch.zeros(2, 256)
    state["other.weight"] = torch.zeros(1)
    torch.save(state, path)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    head = "mask_decoder.iou_prediction_head.layers"
    assert str(error.value) == (
        f"{path} does not hold a whole vit_t model: "
        f"6 missing: {head}.0.weight, {head}.0.bias, {head}.1.weight, {head}.1.bias and 2 more; "
        "1 unexpected: other.weight; "
        "1 misshapen: mask_decoder.iou_token.weight (2, 256) instead of (1, 256). "
        "Is it complete, and meant for this model?"
    )


def test_a_model_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pth"
    torch.save({"fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"no image encoder .* it holds fc.weight, fc.bias"):
        load_checkpoint(path)


def test_an_unknown_width(tmp_path: Path) -> None:
    path = tmp_path / "wide.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 8, 8, 999)}, path)
    with pytest.raises(
        CheckpointError, match=r"width 999 with 8 pos.* known are 768 \(vit_b\), 1024"
    ):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<!DOCTYPE html><html>not found</html>" * 9, id="a web page"),
        pytest.param(b"PK\x03\x04" + b"\0" * 99, id="a cut zip"),
        pytest.param(b"\x80\x02}q\x00.", id="an empty pickle"),
        pytest.param(b"\xff\0\0\0\0\0\0\0{" + b" " * 9, id="cut safetensors"),
        pytest.param(b"\x93NUMPY\x01\x00" + b"\0" * 20, id="an array"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_not_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pth") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="not a readable file of weights") as error:
        load_checkpoint(tmp_path / "evil.pth")
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers(sam: Sam, tmp_path: Path, value: float) -> None:
    path = tmp_path / "diverged.pth"
    state = {name: tensor.clone() for name, tensor in public(sam).items()}
    state["mask_decoder.iou_token.weight"][0, :3] = value
    torch.save(state, path)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert f"{path} has 3 weights that are NaN or infinite, in 1 of" in str(error.value)
    assert "(mask_decoder.iou_token.weight)" in str(error.value)


def test_a_card_is_not_read_from_what_does_not_load(sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    torch.save({k: v for k, v in public(sam).items() if "mask_decoder" not in k}, path)
    with pytest.raises(CheckpointError, match="does not hold a whole vit_t model"):
        read_card(path)


def test_quantised_weights_are_not_taken_at_face_value(sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / "int8.pth"
    name = "mask_decoder.iou_token.weight"
    torch.save({**public(sam), name: torch.ones(1, 256, dtype=torch.int8)}, path)
    with pytest.raises(CheckpointError, match=rf"1 of another kind of number: {name} int8"):
        load_checkpoint(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no weights file"):
        load_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(UsageError, match="is a folder"):
        load_checkpoint(tmp_path)


def test_a_lite_model_at_any_multiple_of_32(tmp_path: Path) -> None:
    sam = build_sam("lite1", 64)
    randomise(sam, seed=5)
    path = tmp_path / "lite.safetensors"
    save_checkpoint(
        sam, path, ModelCard(name="lite", variant="lite1", image_size=64), dtype=torch.float32
    )
    found = load_checkpoint(path, image_size=96)
    assert (found.variant, found.image_size) == ("lite1", 96)
    assert_same(found, sam)
    with pytest.raises(UsageError, match="72 is not a positive multiple of 32, as lite1 needs"):
        load_checkpoint(path, image_size=72)
    with pytest.raises(UsageError, match="do not know lite1; give a file"):
        export_public(sam, tmp_path / "lite.pth")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_lite_model_needs_its_card(tmp_path: Path) -> None:
    path = tmp_path / "lite.pth"
    torch.save(build_sam("lite0", 64).state_dict(), path)
    with pytest.raises(CheckpointError, match="without the card that tells its size"):
        load_checkpoint(path)
