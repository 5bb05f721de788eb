import numpy as np

from sa_engine.masks import boxes


def test_layouts_convert_both_ways() -> None:
    xyxy = np.array([[1.0, 2.0, 4.0, 8.0]])
    xywh = np.array([[1.0, 2.0, 3.0, 6.0]])
    np.testing.assert_array_equal(boxes.xyxy_to_xywh(xyxy), xywh)
    np.testing.assert_array_equal(boxes.xywh_to_xyxy(xywh), xyxy)
    np.testing.assert_array_equal(xyxy, [[1.0, 2.0, 4.0, 8.0]])


def test_area_is_width_times_height() -> None:
    np.testing.assert_array_equal(boxes.area(np.array([[0, 0, 3, 2], [5, 5, 5, 9]])), [6, 0])


def test_iou_matrix() -> None:
    first = np.array([[0, 0, 2, 2], [0, 0, 0, 0]])
    second = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 4, 4], [0, 0, 0, 0]])
    expected = np.array([[1, 2 / 6, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(boxes.iou_matrix(first, second), expected, rtol=1e-12)
