"""Leases by a clock that the test moves."""

import pytest

from sa_engine.annotate.keeping.assignments import (
    ABSENT_S,
    LEASE_S,
    Assignment,
    Assignments,
    allowed_share,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(clock: Clock) -> Assignments:
    return Assignments(clock)


def test_one_image_has_one_lease(leases: Assignments) -> None:
    lease = leases.take("anna", "tab-1", 7)
    assert lease is not None
    assert leases.take("bob", "tab-2", 7) is None
    assert leases.take("anna", "tab-3", 7) is None
    assert leases.take("anna", "tab-1", 7) is lease
    assert leases.held(7, lease.id, "bob") is None


def test_a_lease_that_ended_goes_to_the_next(leases: Assignments, clock: Clock) -> None:
    lease = leases.take("anna", "tab-1", 7)
    assert lease is not None
    clock.now += LEASE_S + 1
    assert leases.is_free(7, "bob")
    other = leases.take("bob", "tab-2", 7)
    assert other is not None
    assert leases.held(7, lease.id, "anna") is None
    assert leases.held(7, other.id, "bob") is other


def test_a_lease_that_ended_and_nobody_took_comes_back(leases: Assignments, clock: Clock) -> None:
    lease = leases.take("anna", "tab-1", 7)
    assert lease is not None
    clock.now += 10 * LEASE_S
    assert leases.held(7, lease.id, "anna") is lease
    assert leases.take("bob", "tab-2", 7) is None


def test_ones_own_dead_tab_is_taken_over_early(leases: Assignments, clock: Clock) -> None:
    leases.take("anna", "tab-1", 7)
    clock.now += ABSENT_S + 1
    own = leases.own("anna", "tab-2")
    assert own is not None
    assert own.image_id == 7
    assert not leases.is_free(7, "bob")
    assert leases.take("anna", "tab-2", 7) is not None


def test_a_restored_lease_has_time_to_come_back(leases: Assignments, clock: Clock) -> None:
    leases.restore("lease", "anna", "tab-1", 7, 600.0)
    assert leases.take("bob", "tab-2", 7) is None
    clock.now += LEASE_S + 1
    assert leases.take("bob", "tab-2", 7) is not None


def test_what_is_given_back_is_free(leases: Assignments) -> None:
    lease = leases.take("anna", "tab-1", 7)
    assert lease is not None
    leases.release(7, "another")
    assert leases.take("bob", "tab-2", 7) is None
    leases.release(7, lease.id)
    assert leases.take("bob", "tab-2", 7) is not None


def test_no_more_seconds_than_passed() -> None:
    lease = Assignment("l", "anna", "t", 7, began=1000.0, renewed=1000.0)
    assert allowed_share(lease, 8.0, 1010.0) == 1.0
    # 12 seconds can have been used by now, 8 of them are.
    assert allowed_share(lease, 8.0, 1010.0) == pytest.approx(0.5)
    assert allowed_share(lease, 1.0, 1010.0) == 0.0
    assert allowed_share(lease, 5.0, 1015.0) == 1.0
