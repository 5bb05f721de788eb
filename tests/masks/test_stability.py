import numpy as np

from sa_engine.masks.stability import stability_from_counts, stability_score


def test_it_is_the_share_that_stays_when_the_threshold_rises() -> None:
    logits = np.array([[[-2.0, -0.5, 0.5, 2.0], [-2.0, 3.0, 3.0, 3.0]]])
    np.testing.assert_allclose(stability_score(logits), [4 / 6])
    np.testing.assert_allclose(stability_score(logits, offset=0.1), [4 / 5 * 5 / 5 * 5 / 5 + 0.2])


def test_thresholds_are_exclusive() -> None:
    logits = np.array([[1.0, -1.0, 1.5]])
    np.testing.assert_allclose(stability_score(logits), 1 / 2)


def test_an_empty_mask_scores_zero_not_nan() -> None:
    np.testing.assert_array_equal(
        stability_from_counts(np.array([0, 1, 3]), np.array([0, 1, 4])), [0, 1, 0.75]
    )


def test_rows_longer_than_an_int16_are_counted() -> None:
    logits = np.full((1, 40_000), 5.0, dtype=np.float32)
    assert stability_score(logits) == 1.0
