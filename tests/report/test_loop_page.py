"""The loop's page: what it says and that it needs nothing but itself."""

import re
import xml.etree.ElementTree as ET

from sa_engine.report.loop_page import LoopPage, RoundRow, curves, loop_page

PAGE = LoopPage(
    title="rocks & <ore>",
    start=0.25,
    waiting="correct a/b in cvat",
    rounds=(
        RoundRow(
            name="manual",
            progress="done",
            own=0.4,
            low=0.35,
            high=0.45,
            oracle=0.5,
            promoted=True,
            images=10,
            masks=200,
            masks_by_stage={"manual": 200},
            seconds=75.0,
        ),
        RoundRow(
            name="semi",
            progress="done",
            own=0.38,
            low=0.3,
            high=0.42,
            oracle=0.5,
            promoted=False,
            images=10,
            masks=440,
            masks_by_stage={"manual": 200, "semi-automatic": 440},
            precision=0.75,
            share_not_drawn=0.4,
            mask_seconds=14.0,
        ),
        RoundRow(name="auto", progress="pending"),
    ),
)


def test_the_page_is_whole_and_alone() -> None:
    page = loop_page(PAGE)
    assert "rocks &amp; &lt;ore&gt;" in page
    assert "2 of 3 rounds are done. Mean IoU went from 0.250 to 0.400 (+0.150); in force" in page
    assert "correct a/b in cvat" in page
    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert cells[:13] == [
        *("manual", "done", "0.400", "0.350–0.450", "0.500", "promoted", "10", "200", "20.0"),
        *("", "", "", "1 min 15 s"),
    ]
    assert cells[13 + 5 : 26] == ["not promoted", "10", "440", "44.0", "75%", "40%", "14.0", "0 s"]
    assert "{{" not in page
    assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "<script" not in page


def test_curves_are_drawings_of_the_numbers() -> None:
    drawn = {name: ET.fromstring(text) for name, text in curves(PAGE).items()}
    space = "{http://www.w3.org/2000/svg}"
    circles = drawn["iou"].findall(f"{space}circle")
    assert [c.findtext(f"{space}title") for c in circles] == [
        "start: 0.2500",
        "manual: 0.4000",
        "semi: 0.3800",
    ]
    heights = [float(c.attrib["cy"]) for c in circles]
    assert heights[1] < heights[2] < heights[0]
    # What was not promoted is hollow, and the line passes it by.
    assert circles[1].attrib["fill"] == circles[0].attrib["fill"] != circles[2].attrib["fill"]
    (line,) = drawn["iou"].findall(f"{space}polyline")
    assert len(line.attrib["points"].split()) == 2
    bars = drawn["masks"].findall(f"{space}rect")
    assert [b.findtext(f"{space}title") for b in bars] == ["manual: 20.0", "semi: 44.0"]
    tall = [float(b.attrib["height"]) for b in bars]
    assert abs(tall[1] / tall[0] - 2.2) < 0.01
    stacks = drawn["stages"].findall(f"{space}rect")
    titles = [title for b in stacks if (title := b.findtext(f"{space}title"))]
    assert titles == ["manual, manual: 200", "semi, manual: 200", "semi, semi-automatic: 440"]


def test_a_loop_that_has_not_begun() -> None:
    page = loop_page(
        LoopPage(title="t", start=None, rounds=(RoundRow(name="a", progress="pending"),))
    )
    assert "0 of 1 rounds are done." in page
