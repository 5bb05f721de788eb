"""What the pictures of one annotation source tell of its tool: whether it turns them upright."""

from collections.abc import Mapping, Sequence

from sa_engine.dataset.images.reading import read_orientation
from sa_engine.dataset.sources.listing import Source, read_source_bytes
from sa_engine.errors import ImageError
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.convert import is_stretched
from sa_engine.formats.frames import Frame, Orientation, frame_of

MOST_LOOKED_AT = 50
"""Pictures whose headers are read; looked at only if a picture's own size does not tell."""


class FrameEvidence:
    """Whether a source's tool draws on pictures as they are stored, by those that lie on a side.

    sources: some of the pictures, the same for every worker. indices: places in the annotation
    source, by a picture's name.
    """

    def __init__(
        self,
        annotations: AnnotationSource,
        indices: Mapping[str, tuple[int, ...]],
        sources: Sequence[Source],
    ) -> None:
        self._annotations, self._indices = annotations, indices
        self._sources = sources[:MOST_LOOKED_AT]
        self._found: bool | None = None

    def ignores_exif(self) -> bool:
        """True if every picture that tells says so, and one does."""
        if self._found is None:
            frames = {frame for source in self._sources for frame in self._frames(source)}
            self._found = Frame.STORED in frames and Frame.UPRIGHT not in frames
        return self._found

    def _frames(self, source: Source) -> set[Frame]:
        try:
            exif, upright_hw = read_orientation(read_source_bytes(source))
        except ImageError:
            return set()
        picture = Orientation(exif, upright_hw)
        if not picture.is_quarter_turned or picture.upright_hw == picture.stored_hw:
            return set()
        frames = set()
        for index in self._indices.get(source.name, ()):
            declared_hw = self._annotations.size_hw(index)
            if declared_hw is not None and not is_stretched(self._annotations, index):
                frames.add(frame_of(declared_hw, picture))
        return frames & {Frame.STORED, Frame.UPRIGHT}
