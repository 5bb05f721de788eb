import pytest

from sa_engine.dataset.folder.sealed import canonical, seal, unseal
from sa_engine.errors import DamagedError


def test_what_is_sealed_comes_back() -> None:
    content = {
        "name": "Grünfläche",
        "count": 3,
        "share": 0.1,
        "nested": {"b": [1, None], "a": True},
    }
    data = seal(content)
    assert unseal(data, name="x") == content
    assert data.isascii() and data.endswith(b"}\n")


def test_the_same_content_gives_the_same_bytes_in_any_order() -> None:
    assert seal({"a": 1, "b": 2}) == seal({"b": 2, "a": 1})


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    data = seal({"count": 3, "name": "a b", "share": 0.5})
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with pytest.raises(DamagedError, match="x is damaged"):
                unseal(bytes(flipped), name="x")
        with pytest.raises(DamagedError):
            unseal(data[:place], name="x")


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_other_files_are_damage_not_a_crash(data: bytes) -> None:
    with pytest.raises(DamagedError):
        unseal(data, name="x")


def test_numbers_that_json_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"share": float("nan")})
    with pytest.raises(ValueError, match="own key"):
        seal({"checksum": 1})
