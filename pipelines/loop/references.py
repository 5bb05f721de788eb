"""Names in a loop's config: each must mean something, and be made before it is needed."""

from collections.abc import Mapping

from sa_engine.dataset.records import Stage
from sa_engine.errors import UsageError
from sa_engine.pipelines.loop.config import PROMOTED, RANDOM, START, Kind, LoopConfig, Round
from sa_engine.pipelines.loop.tables import hint


def check_references(config: LoopConfig) -> None:
    """Every name means something that is made before it is needed. Raises UsageError if not.

    Rounds run in the order in which they stand; where two wait for each other, or for themselves,
    the cycle is named.
    """
    if not config.rounds:
        raise UsageError("a loop needs one round or more")
    _check_names(config)
    needs = _needs(config)
    order = {r.name: place for place, r in enumerate(config.rounds)}
    for name, needed in needs.items():
        for other, why in needed.items():
            if order[other] < order[name]:
                continue
            cycle = _path(needs, other, name)
            if cycle is not None:
                raise UsageError(f"the rounds wait for each other: {' -> '.join([name, *cycle])}")
            raise UsageError(
                f"round {name!r} {why}, but round {other!r} comes later: put it before"
            )
    has_detector = config.first_detector is not None
    for each in config.rounds:
        for part in each.gather:
            if part.kind is Kind.SEMI and not has_detector:
                raise UsageError(
                    f"round {each.name!r} proposes masks, but no round before it trains a "
                    "detector: add [round.detector] to an earlier one, or detector under [start]"
                )
        has_detector = has_detector or each.detector is not None


def _check_names(config: LoopConfig) -> None:
    sets = [each.name for r in config.rounds for each in r.gather]
    held_out = [each.name for each in config.held_out.sets]
    taken = {PROMOTED, START, RANDOM}
    for kind, names in (("round", [r.name for r in config.rounds]), ("set", [*sets, *held_out])):
        for place, name in enumerate(names):
            if name in names[:place]:
                raise UsageError(f"two {kind}s have the name {name!r}: give each its own")
            if kind == "set" and name in set(Stage):
                raise UsageError(f"a set cannot be named {name!r}, for mixtures name a stage so")
            if name in taken or not name or set(name) & set("/\\\0") or name.startswith("."):
                raise UsageError(f"{kind} name {name!r} cannot be used: choose another")
    rounds = [r.name for r in config.rounds]
    for each in config.rounds:
        stages = [stage.value for stage in Stage]
        for name in each.mix:
            _check_name(each, f"mix names {name!r}", name, [*sets, *stages])
        for part in each.gather:
            if part.existing is not None:
                _check_name(each, f"existing is {part.existing!r}", part.existing, sets)
            if part.kind in (Kind.SEMI, Kind.AUTO):
                known = [PROMOTED, START, *rounds]
                _check_name(each, f"model is {part.model!r}", part.model, known)
        for plan in (each.train, each.detector):
            for name in (plan.data if plan is not None else None) or ():
                _check_name(each, f"data names {name!r}", name, sets)
        if each.train is not None:
            init = each.train.init
            known = [PROMOTED, START, RANDOM, *rounds]
            _check_name(each, f"init is {init!r}", init, known)


def _check_name(each: Round, what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UsageError(
            f"round {each.name!r}: {what}{hint(name, known)}; there are {', '.join(known)}"
        )


def _needs(config: LoopConfig) -> dict[str, dict[str, str]]:
    """The other rounds that each round needs, with the reason; its own sets are at hand."""
    makers = {each.name: r.name for r in config.rounds for each in r.gather}
    needs: dict[str, dict[str, str]] = {}
    for each in config.rounds:
        needed: dict[str, str] = {}
        earlier: list[str] = []
        for part in each.gather:
            if part.kind in (Kind.SEMI, Kind.AUTO) and part.model not in (PROMOTED, START):
                needed.setdefault(part.model, f"uses the model of {part.model!r}")
            if part.existing is not None and part.existing not in earlier:
                needed.setdefault(makers[part.existing], f"looks at the set {part.existing!r}")
            earlier.append(part.name)
        for plan in (each.train, each.detector):
            for name in (plan.data if plan is not None else None) or ():
                if makers[name] != each.name:
                    needed.setdefault(makers[name], f"trains on the set {name!r}")
        if each.train is not None and each.train.init not in (PROMOTED, START, RANDOM):
            needed.setdefault(each.train.init, f"starts from the model of {each.train.init!r}")
        needs[each.name] = needed
    return needs


def _path(needs: Mapping[str, Mapping[str, str]], start: str, goal: str) -> list[str] | None:
    """A chain of needs from one round to another."""
    if start == goal:
        return [start]
    for other in needs.get(start, {}):
        found = _path({k: v for k, v in needs.items() if k != start}, other, goal)
        if found is not None:
            return [start, *found]
    return None
