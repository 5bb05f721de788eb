"""Weights files as other programs write them, and as forgers do."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sa_engine.errors import CheckpointError
from sa_engine.model.foreign import read_foreign, what_else

WEIGHTS = {
    "image_encoder.a.weight": torch.arange(3.0),
    "prompt_encoder.b.weight": torch.zeros(2),
    "mask_decoder.c.weight": torch.ones(2, 2),
}


def assert_found(path: Path, expected: dict[str, Tensor] = WEIGHTS) -> None:
    found = read_foreign(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_foreign(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "wrapper",
    ["model", "state_dict", "model_state_dict", "model_state", "module", "net", "ema", "my_sam"],
)
def test_a_state_dict_in_a_member(tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "last.pth"
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(4.0)}}}
    torch.save({wrapper: WEIGHTS, "epoch": 3, "optimizer": optimizer}, path)
    assert_found(path)


@pytest.mark.parametrize("prefix", ["module.", "sam.", "_orig_mod.", "module.model.sam."])
def test_a_prefix_before_every_name(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "last.ckpt"
    wrapped = {f"{prefix}{name}": tensor for name, tensor in WEIGHTS.items()}
    torch.save({"state_dict": {**wrapped, "criterion.weight": torch.zeros(9)}}, path)
    assert_found(path)


def test_two_wrappers_one_in_the_other(tmp_path: Path) -> None:
    torch.save({"checkpoint": {"model": WEIGHTS}}, tmp_path / "a.pth")
    assert_found(tmp_path / "a.pth")


def test_of_several_models_the_usual_one_or_none(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    torch.save({"model": WEIGHTS, "ema": other}, tmp_path / "usual.pth")
    assert_found(tmp_path / "usual.pth")
    torch.save({"student": WEIGHTS, "teacher": other}, tmp_path / "which.pth")
    assert "holds several models (student, teacher)" in refusal(tmp_path / "which.pth")
    both = {f"{who}.{n}": t for who in ("student", "teacher") for n, t in WEIGHTS.items()}
    torch.save(both, tmp_path / "both.pth")
    assert "'student.', 'teacher.'" in refusal(tmp_path / "both.pth")


@pytest.mark.filterwarnings("ignore")  # that TorchScript is of the past
def test_torchscript_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "x.pt")
    message = refusal(tmp_path / "x.pt")
    assert "is a TorchScript archive" in message
    assert "torch.jit.load(path).state_dict()" in message


def test_other_layouts_are_named() -> None:
    assert "transformers" in str(what_else(["vision_encoder.layers.0.attn.qkv.weight"]))
    lora = ["image_encoder.blocks.0.attn.qkv.lora_A.weight", "image_encoder.pos_embed"]
    assert "1 tensors of a LoRA or adapter" in str(what_else(lora))
    assert "second generation" in str(what_else(["image_encoder.trunk.pos_embed"]))
    assert what_else(list(WEIGHTS)) is None


def test_an_archive_that_unfolds_is_not_unfolded(tmp_path: Path) -> None:
    plain = io.BytesIO()
    torch.save({"image_encoder.a": torch.zeros(8 << 20)}, plain)
    path = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert path.stat().st_size < 100_000
    assert "unfolds to 33" in refusal(path)


def test_tensors_that_unfold_are_not_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "wide.pth"
    wide = torch.zeros(1).expand(1 << 30)
    torch.save({f"image_encoder.{k}": wide for k in range(9)}, path)
    assert f"unfolds to {9 * (1 << 32)}" in refusal(path)


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(torch.zeros(2, dtype=torch.complex64), id="complex"),
        pytest.param(torch.zeros(2, device="meta"), id="without data"),
        pytest.param(torch.eye(2).to_sparse(), id="sparse"),
    ],
)
def test_tensors_of_other_kinds(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({**WEIGHTS, "mask_decoder.d": tensor}, tmp_path / "x.pth")
    assert "(mask_decoder.d)" in refusal(tmp_path / "x.pth")


class _Reduced:
    """Pickles as a call with arguments of one's choice."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self.arguments


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pickle.dumps(_Reduced(), 2), id="a call without arguments"),
        pytest.param(pickle.dumps(_Reduced("x", 0, (1,), (1,), False, {}), 2), id="no storage"),
        pytest.param(b"\x80\x02" + b"(" * 5000 + b"t" * 5000 + b".", id="nested tuples"),
        pytest.param(b"\x80\x020.", id="a pop from nothing"),
        pytest.param(b"\x80\x02h\xff.", id="a memo that is not there"),
        pytest.param(b"\x80\x02X\xff\xff\xff\x7fa.", id="text that ends early"),
        pytest.param(b"\x80\x02X\x02\0\0\0\xff\xfe.", id="text that is none"),
        pytest.param(b"\x80\x02K\x01K\x02u.", id="a number as a dict"),
        pytest.param(b"\x80\x02" + struct.pack("<BI", 0x8B, 1 << 30) + b".", id="a long integer"),
    ],
)
def test_forged_pickles_end_in_one_line(tmp_path: Path, content: bytes) -> None:
    bare, zipped = tmp_path / "bare.pth", tmp_path / "zip.pth"
    bare.write_bytes(content)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/version", b"3\n")
        archive.writestr("x/byteorder", b"little")
    for path in (bare, zipped):
        assert str(path) in refusal(path)


def test_nested_members_end_somewhere(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    torch.save(content, tmp_path / "self.pth")
    assert "without tensors by name" in refusal(tmp_path / "self.pth")
