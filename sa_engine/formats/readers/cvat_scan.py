"""A first pass over a CVAT file: what each image is called, and where its element lies.

Which image: `name`, and `subset` in a project's file, where names repeat; its annotator is the
assignee of the task that `task_id` names, or of the file's only task or job. The parser refuses
every DTD, and so every entity.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

from sa_engine.dataset.folder.base import read_range
from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ListedImage, listed_image
from sa_engine.formats.codecs.jsonfile import ByteSpan
from sa_engine.formats.fields import text

_CHUNK = 1 << 20
_DEEPEST = 100


@dataclass(slots=True)
class _Task:
    """What the head of the file says of a task or job."""

    task_id: str | None = None
    subset: str | None = None
    assignee: str | None = None


class Scan:
    """A first pass: the head of every image and where its element lies.

    counts: regions of each image, of whatever kind.
    annotators: who each image was given to; None where that is not said.
    """

    def __init__(self, path: Path) -> None:
        self.images: list[ListedImage] = []
        self.heads: list[dict[str, str]] = []
        self.spans: list[ByteSpan | None] = []
        self.counts: list[int] = []
        self.labels: list[str] = []
        self.annotators: list[str | None] = []
        self.has_tracks = False
        self.num_tracked = 0
        self.recoded: bytes | None = None
        self._path = path
        self._open: list[str] = []
        self._text: list[str] = []
        self._start = -1
        self._ends: list[tuple[int, int]] = []
        self._tasks: list[_Task] = []
        self._task = _Task()
        try:
            self._encoding = _encoding_without_declaration(path)
            self._parse()
            if self._encoding not in ("utf-8", "us-ascii", "ascii"):
                self._recode()
            self._measure()
            self._name_images()
        except OSError as error:
            raise AnnotationError(f"cannot read {path}: {error.strerror or error}") from error
        except (expat.ExpatError, LookupError, ValueError) as error:
            # A LookupError is of an encoding that nobody knows, a ValueError of one that is not
            # made of bytes or does not fit them.
            raise AnnotationError(f"{path} is not whole XML: {error}") from error

    def _parse(self, data: bytes | None = None) -> None:
        parser = expat.ParserCreate()
        self._parser = parser
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._receive
        if data is not None:
            parser.Parse(data, True)
        else:
            with self._path.open("rb") as file:
                size = _CHUNK
                while block := file.read(size):
                    parser.Parse(block, False)
                    # A tag that has not ended is parsed from its beginning each time: at twice the
                    # length the next time, or a long one would cost its square.
                    size = max(_CHUNK, file.tell() - max(0, parser.CurrentByteIndex))
                parser.Parse(b"", True)
        del self._parser

    def _declare(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and self.recoded is None and not self._encoding.startswith("utf-16"):
            self._encoding = encoding.lower()

    def _refuse(self, *_: Any) -> int:
        raise AnnotationError(
            f"{self._path} has a DTD or entities, which CVAT does not write: it was not read, "
            "for such files can be made to fill the memory or to read others"
        )

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append(tag)
        self._text = []
        depth = len(self._open)
        if depth > _DEEPEST:
            raise AnnotationError(
                f"{self._path} has elements in each other over {_DEEPEST} deep; CVAT writes 8"
            )
        if depth == 1 and tag != "annotations":
            raise AnnotationError(f"{self._path} is not CVAT's: it begins with <{tag}>")
        if depth == 2 and tag == "image":
            self.heads.append(attributes)
            self.counts.append(0)
            self._start = self._parser.CurrentByteIndex
        elif depth == 2 and tag == "track":
            self.has_tracks = True
        elif depth == 3 and self._open[1] == "track":
            self.num_tracked += attributes.get("outside") != "1"
        elif depth == 3 and self._open[1] == "image" and tag != "tag":
            self.counts[-1] += 1

    def _end(self, _tag: str) -> None:
        depth = len(self._open)
        if depth > 1 and self._open[1] == "meta":
            self._end_of_head(self._open[2:], "".join(self._text).strip())
        elif depth == 2 and self._open[1] == "image":
            self._ends.append((self._start, self._parser.CurrentByteIndex))
        self._open.pop()

    def _end_of_head(self, path: list[str], value: str) -> None:
        match path:
            case [*_, "label", "name"] if value:
                self.labels.append(value)
            case [*_, "task" | "job", "id"]:
                self._task.task_id = value
            case [*_, "task" | "job", "subset"]:
                self._task.subset = value
            case [*_, "task" | "job", "assignee", "username"]:
                self._task.assignee = value
            case [*_, "task" | "job"]:
                self._tasks.append(self._task)
                self._task = _Task()

    def _name_images(self) -> None:
        by_id = {task.task_id: task for task in self._tasks}
        only = self._tasks[0] if len(self._tasks) == 1 else _Task()
        for head in self.heads:
            task = by_id.get(head["task_id"], _Task()) if "task_id" in head else only
            name = text(head.get("name")) or f"image {head.get('id')}"
            subset = text(head.get("subset")) or text(task.subset)
            self.images.append(listed_image(name, subset=subset))
            self.annotators.append(text(task.assignee))

    def _receive(self, part: str) -> None:
        if self._open[1:2] == ["meta"]:
            self._text.append(part)

    def _measure(self) -> None:
        """Spans of the elements; None for one without children, whose head says all."""
        for start, end in self._ends:
            if end <= start:
                self.spans.append(None)
                continue
            tail = (
                self.recoded[end : end + 256]
                if self.recoded is not None
                else read_range(self._path, end, 256)
            )
            self.spans.append(ByteSpan(start, end + tail.index(b">") + 1 - start))

    def _recode(self) -> None:
        """Elements can only be read alone in an encoding that needs no declaration."""
        try:
            whole = self._path.read_bytes().decode(self._encoding)
        except (LookupError, UnicodeDecodeError) as error:
            raise AnnotationError(
                f"{self._path} is not in the encoding that it names: {error}"
            ) from error
        declaration = whole.index("?>") + 2 if whole.lstrip("\ufeff").startswith("<?xml") else 0
        whole = whole if declaration else whole.lstrip("\ufeff")
        recoded = b'<?xml version="1.0" encoding="utf-8"?>' + whole[declaration:].encode()
        self.heads, self.counts, self.labels, self._tasks = [], [], [], []
        self.num_tracked, self._ends = 0, []
        self.recoded = recoded
        self._parse(recoded)


def _encoding_without_declaration(path: Path) -> str:
    """What an XML file's first bytes say."""
    with path.open("rb") as file:
        head = file.read(2)
    return {
        b"\xff\xfe": "utf-16",
        b"\xfe\xff": "utf-16",
        b"<\0": "utf-16-le",
        b"\0<": "utf-16-be",
    }.get(head, "utf-8")
