"""Numbers read from a device, here one that never lags behind."""

import torch

from sa_engine.training.host_copy import HostCopy


def test_the_values_are_those_of_the_moment():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    copy = HostCopy(values * 2)
    with torch.no_grad():
        values.zero_()
    assert copy.tolist() == [2.0, 4.0]
