"""The README's picture: the overlays of the demo, side by side.

sa-engine show out/demo --out out/demo-pictures --overlays
python -m benchmarks.readme_picture out/demo-pictures examples/masks.jpg
"""

import sys
from pathlib import Path

from PIL import Image

HEIGHT_PX = 260
PER_ROW = 3
GAP_PX = 6


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one height in rows of equal width."""
    rows = [pictures[i : i + PER_ROW] for i in range(0, len(pictures), PER_ROW)]
    widths = [sum(p.width for p in row) + GAP_PX * (len(row) - 1) for row in rows]
    width = max(widths)
    height = len(rows) * (HEIGHT_PX + GAP_PX) - GAP_PX
    whole = Image.new("RGB", (width, height), "white")
    for number, row in enumerate(rows):
        x = (width - widths[number]) // 2
        for picture in row:
            whole.paste(picture, (x, number * (HEIGHT_PX + GAP_PX)))
            x += picture.width + GAP_PX
    return whole


def main(folder: Path, out: Path) -> None:
    """Read the overlays of a folder and write the sheet."""
    pictures = []
    for path in sorted((folder / "overlays").glob("*.jpg")):
        picture = Image.open(path)
        pictures.append(picture.resize((picture.width * HEIGHT_PX // picture.height, HEIGHT_PX)))
    sheet(pictures).save(out, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
