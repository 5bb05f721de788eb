"""Which image comes next."""

from sa_engine.annotate.order import Order, image_order


def test_listed_random_and_sampled() -> None:
    assert image_order(5, Order.LISTED, seed=0, sample=None) == [1, 2, 3, 4, 5]
    shuffled = image_order(100, Order.RANDOM, seed=0, sample=None)
    assert sorted(shuffled) == list(range(1, 101))
    assert shuffled != list(range(1, 101))
    assert shuffled == image_order(100, Order.RANDOM, seed=0, sample=None)
    sample = image_order(100, Order.LISTED, seed=3, sample=10)
    assert sample == sorted(sample)
    assert len(set(sample)) == 10
    assert sample != image_order(100, Order.LISTED, seed=4, sample=10)
    assert image_order(3, Order.LISTED, seed=0, sample=10) == [1, 2, 3]
