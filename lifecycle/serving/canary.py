"""Which versions an endpoint is to serve: the champion alone, or, while it is new, beside the champion before it.

Nobody keeps where a canary stands. It follows from the log, what the endpoint serves, the settings, the alerts and the
clock, so that after a kill at any instant the same question has the same answer. When it began stands on the entry of
the promotion in the log, written once the endpoint was seen to divide its requests.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from lifecycle.core.errors import NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.monitoring import standings
from lifecycle.registry import log, promotion, store
from lifecycle.registry.store import Target
from lifecycle.serving.served import ALL
from lifecycle.settings import Settings
from lifecycle.settings.rules import ServingRules


class Facts(NamedTuple):
    """What a canary depends on, as it was read at one time."""

    champion: int
    line: tuple[int, ...]
    entry: int
    """The number of the entry of the log that made it champion."""
    kind: log.Kind
    shares: Mapping[int, int]
    """How many in a hundred requests the endpoint gives to each version of the model."""
    begun: datetime | None = None
    alerts: tuple[str, ...] = ()
    now: datetime = datetime.min.replace(tzinfo=UTC)


class Plan(NamedTuple):
    """Who is to be served: the champion, and, while it is a canary, who answers the rest; why, for people."""

    champion: int
    former: int | None = None
    share: int = ALL
    why: str = ""
    entry: int = 0

    @property
    def versions(self) -> set[int]:
        """Everybody who is to be served."""
        return {self.champion, *([self.former] if self.former else [])}


def decide(facts: Facts, rules: ServingRules, *, complete: bool = False) -> Plan:
    """Decide who is to be served; `complete` ends a canary before its time.

    Only a promotion begins one, where an earlier champion is served: a rollback is not tried out, it is the way out.
    """
    alone, former = Plan(facts.champion), _former(facts)
    share = facts.shares.get(facts.champion, rules.canary_traffic)
    if former is None or ALL in {share, rules.canary_traffic} or facts.kind != "promotion" or complete:
        return alone
    tried_out = Plan(facts.champion, former, share, entry=facts.entry)
    if facts.champion not in facts.shares:
        return tried_out._replace(why=f"for {rules.canary_hours:g} hours")
    until = (facts.begun or facts.now) + timedelta(hours=rules.canary_hours)
    if facts.now < until:
        return tried_out._replace(why=f"until {until:%Y-%m-%d %H:%M} UTC")
    if facts.alerts:
        return tried_out._replace(why=f"as long as these alerts are open: {'; '.join(facts.alerts)}")
    return alone


def _former(facts: Facts) -> int | None:
    """The earlier champion that answers most requests now: not one that was itself only tried out."""
    earlier = [number for number in facts.line if number != facts.champion and facts.shares.get(number)]
    return max(earlier, key=lambda number: (facts.shares[number], number), default=None)


def look(config: Settings, target: Target, champion: ModelRef, shares: Mapping[int, int]) -> Facts:
    """Read what a canary depends on."""
    now = promotion.read_log(target)
    change = now.changes[-1]
    entry = store.find(target, change.number)
    begun = entry.tags.get(log.CANARY) if entry else None
    return Facts(
        champion=champion.version or 0,
        line=now.line,
        entry=change.number,
        kind=change.kind,
        shares=shares,
        begun=datetime.fromisoformat(begun) if begun else None,
        alerts=_alerts(config, champion),
        now=datetime.now(UTC),
    )


def begin(target: Target, entry: int) -> None:
    """Write on the entry of a promotion that its canary has begun, unless that stands there."""
    found = store.find(target, entry)
    if found and log.CANARY not in found.tags:
        with store.missing_is_none():
            store.tag(target, entry, log.CANARY, datetime.now(UTC).isoformat(timespec="seconds"))


def _alerts(config: Settings, champion: ModelRef) -> tuple[str, ...]:
    """What is open about the champion, and nobody has silenced."""
    try:
        standing = standings.read(config.measurements, champion.name or "")
    except NotFoundError:
        return ()
    return tuple(
        alert.id
        for alert in standing.alerts
        if alert.is_open and alert.version == champion.version and not standings.silenced(config.measurements, alert)
    )
