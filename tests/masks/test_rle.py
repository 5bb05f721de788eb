"""Run-length encoding: windows, runs, unions, and damaged strings."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from sa_engine.masks.rle import (
    Rle,
    _pack,
    area,
    areas,
    bbox_xywh,
    boxes_xywh,
    decode,
    decode_window,
    encode,
    encode_window,
    from_runs,
    iou_matrix,
    runs,
    shared_pixels,
    union,
    unpack,
)

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))

EXAMPLE = np.array(
    [
        [0, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 1, 0, 0],
    ],
    dtype=bool,
)


def test_runs_go_down_the_columns() -> None:
    assert runs(encode(EXAMPLE)).tolist() == [4, 2, 1, 1, 4]


def test_a_window_is_no_larger_than_the_box() -> None:
    window, origin_xy = decode_window(encode(EXAMPLE))

    assert window.tolist() == [[True, True], [True, False]]
    assert origin_xy == (1, 1)


def test_an_empty_mask_has_an_empty_window() -> None:
    window, origin_xy = decode_window(from_runs([12], (3, 4)))

    assert window.shape == (0, 0)
    assert origin_xy == (0, 0)


@given(masks)
@settings(max_examples=300, deadline=None)
def test_windows_hold_the_whole_mask(mask: np.ndarray) -> None:
    coded = encode(mask)
    window, (x, y) = decode_window(coded)
    whole = np.zeros(mask.shape, dtype=bool)
    whole[y : y + window.shape[0], x : x + window.shape[1]] = window

    assert np.array_equal(whole, mask)
    assert (x, y, *window.shape[::-1]) == bbox_xywh(coded)
    if window.size:
        assert encode_window(window, origin_xy=(x, y), size_hw=mask.shape) == coded


@given(st.lists(st.integers(0, (1 << 24) - 1), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_strings_are_packed_and_unpacked_as_the_coco_library_does(lengths: list[int]) -> None:
    size = [sum(lengths), 1]
    rle: Any = {"size": size, "counts": lengths}
    packed = coco_mask.frPyObjects(rle, *size)["counts"].decode()

    assert unpack(packed).tolist() == lengths
    assert _pack(lengths) == packed


@given(st.lists(st.integers(0, (1 << 29) - 1), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_long_runs_are_packed_without_it(lengths: list[int]) -> None:
    # It would write past its buffer.
    assert unpack(_pack(lengths)).tolist() == lengths


def test_large_masks_are_encoded_without_it() -> None:
    mask = np.zeros((1 << 12, (1 << 12) + 1), dtype=bool)
    mask[:, 5:4000] = True
    coded = encode(mask)
    assert runs(coded).tolist() == [5 << 12, 3995 << 12, 97 << 12]
    assert (
        union([coded, coded])
        == coded
        == encode_window(mask[:, 5:4000], origin_xy=(5, 0), size_hw=mask.shape)
    )
    assert np.array_equal(decode(coded), mask)
    assert runs(encode(~mask)).tolist() == [0, 5 << 12, 3995 << 12, 97 << 12]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("~", "not COCO's compressed form"),
        (" ", "not COCO's compressed form"),
        ("P", "not COCO's compressed form"),
        ("oooooooooo0", "beyond 30 bits"),
        # -100 in seven characters, which the COCO library reads as -4.
        ("<111llooooO", "beyond 30 bits"),
        ("é", "ascii"),
    ],
)
def test_strings_of_another_form(counts: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack(counts)


@pytest.mark.parametrize("counts", ["", "5", "52", "O2"])
def test_runs_that_do_not_fill_the_mask(counts: str) -> None:
    with pytest.raises(ValueError, match="do not add up to the 4x3 pixels"):
        runs(Rle((3, 4), counts))


@given(st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=8))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_damaged_counts_never_come_to_the_coco_library(counts: str) -> None:
    # It would read and write beyond its buffers, and give masks of uninitialised memory.
    damaged = Rle((3, 4), counts)
    try:
        filled = int(runs(damaged)[1::2].sum())
    except ValueError:
        for use in (decode, area, bbox_xywh):
            with pytest.raises(ValueError):
                use(damaged)
        with pytest.raises(ValueError):
            union([encode(EXAMPLE), damaged])
        with pytest.raises(ValueError):
            iou_matrix([encode(EXAMPLE)], [damaged])
    else:
        assert int(decode(damaged).sum()) == area(damaged) == filled


def test_masks_beyond_what_the_coco_library_can_spell() -> None:
    for use in (
        lambda: from_runs([0, 1 << 29], (1 << 15, 1 << 14)),
        lambda: runs(Rle((1 << 15, 1 << 14), "0")),
        lambda: encode(np.broadcast_to(np.True_, (1 << 15, 1 << 14))),
    ):
        with pytest.raises(ValueError, match="at most 536870911 are possible"):
            use()


@pytest.mark.parametrize(
    ("lengths", "box"),
    [
        ([63, 0, 0, 0], (0, 0, 0, 0)),
        ([10, 0, 53], (0, 0, 0, 0)),
        ([0, 0, 10, 2, 30, 0, 21], (1, 1, 1, 2)),
    ],
)
def test_runs_of_no_length_are_no_pixels(lengths: list[int], box: tuple[float, ...]) -> None:
    assert bbox_xywh(Rle((9, 7), _pack(lengths))) == box


def test_a_union_covers_what_any_mask_covers() -> None:
    other = np.zeros((3, 4), dtype=bool)
    other[0, 3] = True

    assert np.array_equal(decode(union([encode(EXAMPLE), encode(other)])), EXAMPLE | other)
    with pytest.raises(ValueError, match="needs a mask"):
        union([])
    with pytest.raises(ValueError, match="of one size"):
        union([encode(EXAMPLE), encode(EXAMPLE.T)])


def test_more_masks_than_a_byte_can_count() -> None:
    coded = [encode(EXAMPLE)] * 300

    assert areas(coded) == [3] * 300
    assert boxes_xywh(coded) == [(1, 1, 2, 2)] * 300
    assert areas([]) == []
    assert boxes_xywh([]) == []


def test_iou_of_masks() -> None:
    half = EXAMPLE.copy()
    half[2, 1] = False

    assert iou_matrix([encode(EXAMPLE)], [encode(EXAMPLE), encode(half)]).tolist() == [[1.0, 2 / 3]]
    assert area(encode(half)) == 2


def test_shared_pixels_are_whole_numbers() -> None:
    sizes = np.arange(1, 300, dtype=np.float64)
    part, whole = sizes[:, None], sizes[:, None] + sizes[None, :]
    np.testing.assert_array_equal(
        shared_pixels(part / whole, part + whole), np.broadcast_to(part, whole.shape)
    )
    assert shared_pixels(np.array([0.0]), np.array([9.0])) == 0
