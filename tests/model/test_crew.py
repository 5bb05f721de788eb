"""Pieces in order, by any number of threads."""

import threading
from collections.abc import Iterator

import pytest
import torch

from sa_engine.model.crew import crew_size, in_order, one_thread_an_operator, sharing

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_from_single_threads(threads: int) -> None:
    def piece(i: int) -> tuple[int, int, bool]:
        return i * i, torch.get_num_threads(), torch.is_inference_mode_enabled()

    with torch.inference_mode(), one_thread_an_operator(CPU):
        assert crew_size() == threads
        found = list(in_order(piece, range(20)))
    assert found == [(i * i, 1, True) for i in range(20)]
    assert torch.get_num_threads() == threads and crew_size() == 0


def test_only_a_few_items_are_in_work() -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    torch.set_num_threads(2)
    try:
        with one_thread_an_operator(CPU):
            assert next(iter(in_order(lambda i: i, items()))) == 0
    finally:
        torch.set_num_threads(1)
    assert len(taken) <= 6


def test_inside_itself_and_on_other_devices_it_changes_nothing(threads: int) -> None:
    with one_thread_an_operator(torch.device("cuda")):
        assert crew_size() == 0
    with one_thread_an_operator(CPU):
        with one_thread_an_operator(CPU):
            assert crew_size() == threads
        assert crew_size() == threads


def test_an_error_reaches_the_caller(threads: int) -> None:
    def fail(i: int) -> int:
        if i == 3:
            raise ValueError("piece 3")
        return i

    with one_thread_an_operator(CPU), pytest.raises(ValueError, match="piece 3"):
        list(in_order(fail, range(10)))
    assert torch.get_num_threads() == threads


def test_time_is_shared_among_threads(threads: int) -> None:
    with one_thread_an_operator(CPU):
        assert set(in_order(lambda _: sharing(), range(9))) == {threads}
        assert sharing() == 1


def test_two_callers_at_once_leave_the_count_as_it_was() -> None:
    torch.set_num_threads(3)
    inside, leave = threading.Barrier(2), threading.Barrier(2)
    sizes = []

    def other() -> None:
        with one_thread_an_operator(CPU):
            sizes.append(crew_size())
            inside.wait()
            leave.wait()

    try:
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait()
        with one_thread_an_operator(CPU):
            sizes.append(crew_size())
            leave.wait()
            thread.join()
        assert sizes == [3, 3] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
