import io
import tarfile

import pytest

from sa_engine.dataset.shards import tar
from sa_engine.errors import DamagedError


def test_the_written_tar_is_what_tarfile_would_write() -> None:
    members = [
        ("sa_1.jpg", b"x" * 700),
        ("sa_1.json", b"{}"),
        ("empty", b""),
        ("exact", b"y" * 512),
    ]
    data = b"".join(tar.member_bytes(name, each) for name, each in members)
    data += tar.end_bytes(len(data))
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = []
        for member in archive:
            stored = archive.extractfile(member)
            assert stored is not None
            found.append((member.name, stored.read()))
    assert found == members
    assert [m.name for m in tar.members(io.BytesIO(data))] == [name for name, _ in members]
    for place in (3, 512 + 710, len(data) - 5, 150):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(DamagedError):
            list(tar.members(io.BytesIO(bytes(damaged))))
    for length in (0, 100, 1536, len(data) - 512):
        with pytest.raises(DamagedError):
            list(tar.members(io.BytesIO(data[:length])))


def test_a_sound_header_that_says_more_than_ours_is_refused() -> None:
    info = tarfile.TarInfo("sa_1.json")
    info.mtime = 1_700_000_000
    data = info.tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(DamagedError, match=r"header of 'sa_1\.json' at byte 0 is not as written"):
        list(tar.members(io.BytesIO(data + tar.end_bytes(len(data)))))
