"""Charts draw the numbers, and lines differ without colour."""

import re
import xml.etree.ElementTree as ET

import numpy as np

from sa_engine.report.charts.distributions import Line, density_svg, steps_svg

SPACE = "{http://www.w3.org/2000/svg}"


def test_steps() -> None:
    edges = np.array([0.0, 1, 2, 4])
    lines = [Line("a & b", edges, np.array([0.5, 0.25, 0.25])), Line("c", edges, np.zeros(3))]
    drawn = ET.fromstring(steps_svg("Title <x>", lines, unit="px"))
    first, second = drawn.findall(f"{SPACE}polyline")
    points = [tuple(map(float, pair.split(","))) for pair in first.attrib["points"].split()]
    assert len(points) == 6
    xs, ys = [x for x, _ in points], [y for _, y in points]
    # 0, 1, 2 and 4 from end to end; 25 % half as high above 0 as 50 %.
    assert np.allclose(np.diff(sorted(set(xs))) / (xs[-1] - xs[0]), [0.25, 0.25, 0.5], atol=0.01)
    ground = float(second.attrib["points"].split()[0].split(",")[1])
    assert abs((ground - ys[0]) / (ground - ys[2]) - 2) < 0.02
    assert first.attrib.get("stroke-dasharray") != second.attrib.get("stroke-dasharray")
    assert drawn.findtext(f"{SPACE}title") == "Title <x>"


def test_logarithmic_steps_have_marks_at_powers() -> None:
    edges = np.geomspace(1, 10_000, 9)
    text = steps_svg("t", [Line("a", edges, np.full(8, 0.125))], is_log=True)
    assert list(re.findall(r">([\d,]+)<", text)) == [
        "1",
        "10",
        "100",
        "1,000",
        "10,000",
    ]
    drawn = ET.fromstring(text)
    (line,) = drawn.findall(f"{SPACE}polyline")
    xs = [float(pair.split(",")[0]) for pair in line.attrib["points"].split()][::2]
    assert np.allclose(np.diff(xs), np.diff(xs)[0], atol=0.2)


def test_density() -> None:
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[0, 3], counts[2, 1] = 16, 4
    drawn = ET.fromstring(density_svg("centres", counts))
    cells = [r for r in drawn.findall(f"{SPACE}rect") if "opacity" in r.attrib]
    assert [(c.attrib["opacity"], c.findtext(f"{SPACE}title")) for c in cells] == [
        ("1.00", "80.00%"),
        ("0.50", "20.00%"),
    ]
    assert float(cells[0].attrib["x"]) > float(cells[1].attrib["x"])
    assert float(cells[0].attrib["y"]) < float(cells[1].attrib["y"])


def test_nothing_to_draw() -> None:
    assert ET.fromstring(steps_svg("t", [])) is not None
    assert ET.fromstring(density_svg("t", np.zeros((2, 2), dtype=np.int64))) is not None
