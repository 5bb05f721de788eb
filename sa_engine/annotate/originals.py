"""The images people look at: read once, checked, and in a form that browsers show."""

import hashlib
import io
from collections import OrderedDict
from dataclasses import dataclass

from PIL import Image

from sa_engine.dataset.images.reading import read_image
from sa_engine.dataset.sources.listing import Source, SourceList, read_source_bytes

_HELD = 8
_AS_THEY_ARE = {"jpg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class Original:
    """An image that was read.

    size_hw: (height, width) of the stored, upright image. sha256: of the source's bytes.
    data, media_type: what a browser is sent: the very pixels, as JPEG, WebP or PNG.
    """

    size_hw: tuple[int, int]
    sha256: str
    data: bytes
    media_type: str


def read_original(source: Source, *, max_pixels: int) -> Original:
    """Read an image. Raises ImageError as `read_image` and `read_source_bytes` do."""
    data = read_source_bytes(source)
    image = read_image(data, max_pixels=max_pixels)
    digest = hashlib.sha256(data).hexdigest()
    if image.extension in _AS_THEY_ARE:
        return Original(image.size_hw, digest, image.data, _AS_THEY_ARE[image.extension])
    # Of PNG there are kinds (16 bits, palettes with profiles) that browsers show in other colours.
    buffer = io.BytesIO()
    Image.fromarray(image.rgb_HW3).save(buffer, "PNG", compress_level=1)
    return Original(image.size_hw, digest, buffer.getvalue(), "image/png")


class Originals:
    """The last few images. Used by several threads; at worst an image is read twice.

    sources: the frozen list; an image's id is its place in it, from 1.
    """

    def __init__(self, sources: SourceList, *, max_pixels: int) -> None:
        self.sources = sources
        self.max_pixels = max_pixels
        self._held: OrderedDict[int, Original] = OrderedDict()

    def read(self, image_id: int) -> Original:
        """The image. Raises ImageError."""
        found = self._held.get(image_id)
        if found is None:
            found = read_original(self.sources[image_id - 1], max_pixels=self.max_pixels)
            self._held[image_id] = found
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return found
