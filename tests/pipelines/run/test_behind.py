"""Work that is done one piece behind its caller."""

import threading

import pytest

from sa_engine.pipelines.run.behind import Behind


def test_the_caller_goes_on_while_one_piece_is_under_way() -> None:
    may_end, done = threading.Event(), list[int]()

    def slow() -> None:
        may_end.wait(timeout=30)
        done.append(1)

    with Behind("test") as behind:
        behind.do(slow)
        assert done == []
        may_end.set()
        behind.do(lambda: done.append(2))
        assert done[:1] == [1], "the second piece began before the first was done"
        behind.wait()
        assert done == [1, 2]


def test_leaving_waits_for_the_last_piece() -> None:
    done = list[int]()
    with Behind("test") as behind:
        behind.do(lambda: done.append(1))
    assert done == [1]


def test_an_error_comes_with_the_next_call_and_once() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    done = list[int]()
    with Behind("test") as behind:
        behind.do(fail)
        with pytest.raises(OSError, match="disk is full"):
            behind.do(lambda: done.append(2))
        behind.do(lambda: done.append(3))
    assert done == [3], "what follows a failed piece was done before its caller knew of the failure"

    with pytest.raises(OSError, match="disk is full"), Behind("test") as behind:
        behind.do(fail)


def test_another_error_on_its_way_is_not_hidden_and_the_piece_is_finished() -> None:
    done = list[int]()
    with pytest.raises(KeyboardInterrupt), Behind("test") as behind:
        behind.do(lambda: done.append(1))
        raise KeyboardInterrupt
    assert done == [1]
