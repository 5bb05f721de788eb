"""Who works on which image: leases that end by themselves. One image has one lease."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

LEASE_S = 90.0
"""Seconds after which a lease that was not renewed may be given to another."""

ABSENT_S = 70.0
"""Seconds of silence after which a lease of the same annotator in another tab is taken over."""


@dataclass(slots=True)
class Assignment:
    """An annotator's claim on an image, in one tab. Times are of the monotonic clock."""

    id: str
    annotator: str
    tab: str
    image_id: int
    began: float
    renewed: float
    claimed_s: float = 0.0


class Assignments:
    """All leases. Not for several threads.

    clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_image: dict[int, Assignment] = {}

    def restore(self, lease_id: str, annotator: str, tab: str, image_id: int, age_s: float) -> None:
        """A lease of before a restart: its holder has LEASE_S to come back."""
        now = self._clock()
        self._by_image[image_id] = Assignment(lease_id, annotator, tab, image_id, now - age_s, now)

    def is_live(self, lease: Assignment) -> bool:
        """Whether nobody else may take the image."""
        return self._clock() - lease.renewed < LEASE_S

    def take(self, annotator: str, tab: str, image_id: int) -> Assignment | None:
        """Claim an image; None if somebody else has it. One's own of this tab is given again."""
        held = self._by_image.get(image_id)
        if held is not None and held.annotator == annotator and held.tab == tab:
            held.renewed = self._clock()
            return held
        if held is not None and self.is_live(held) and not self._is_absent(held, annotator):
            return None
        now = self._clock()
        lease = Assignment(secrets.token_urlsafe(12), annotator, tab, image_id, now, now)
        self._by_image[image_id] = lease
        return lease

    def held(self, image_id: int, lease_id: str, annotator: str) -> Assignment | None:
        """Renew a lease by its id; None if the image was taken over, or the lease is not theirs.

        One that ended and that nobody else took is alive again.
        """
        lease = self._by_image.get(image_id)
        if lease is None or lease.id != lease_id or lease.annotator != annotator:
            return None
        lease.renewed = self._clock()
        return lease

    def release(self, image_id: int, lease_id: str) -> None:
        """Give an image back."""
        lease = self._by_image.get(image_id)
        if lease is not None and lease.id == lease_id:
            del self._by_image[image_id]

    def forget(self, image_id: int) -> None:
        """Whoever had the image, it is theirs no more."""
        self._by_image.pop(image_id, None)

    def own(self, annotator: str, tab: str) -> Assignment | None:
        """The image that a tab has, if any; or one that this annotator left in a dead tab."""
        mine = [lease for lease in self._by_image.values() if lease.annotator == annotator]
        for lease in mine:
            if lease.tab == tab:
                return lease
        return next((lease for lease in mine if self._is_absent(lease, annotator)), None)

    def is_free(self, image_id: int, annotator: str) -> bool:
        """Whether an annotator may take the image now."""
        lease = self._by_image.get(image_id)
        return lease is None or not self.is_live(lease) or self._is_absent(lease, annotator)

    def present(self) -> list[Assignment]:
        """Leases that are live."""
        return [lease for lease in self._by_image.values() if self.is_live(lease)]

    def _is_absent(self, lease: Assignment, annotator: str) -> bool:
        return lease.annotator == annotator and self._clock() - lease.renewed > ABSENT_S


def allowed_share(
    lease: Assignment, claimed_s: float, now: float, *, grace_s: float = 2.0
) -> float:
    """The part of newly claimed seconds that can be true, [0, 1], and count them.

    Over a lease, active seconds are at most those since it began (a queue that was filled offline
    comes at once, so single events are not compared).
    """
    left = max(0.0, now - lease.began + grace_s - lease.claimed_s)
    counted = min(claimed_s, left)
    lease.claimed_s += counted
    return 1.0 if claimed_s <= left else counted / claimed_s
