"""A decision in words: one plain sentence for whoever has to live with it, then the numbers it rests on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lifecycle.gate.checks import CLASSES, GAIN, GROUPS
from lifecycle.gate.contest import Contest
from lifecycle.gate.doubt import TOO_FAR, TOO_GOOD
from lifecycle.gate.verdict import REPLAY, Check, Decision
from lifecycle.problems.findings import Interval, briefly, shown
from lifecycle.settings.gate_rules import GateRules

PLAIN = {
    "floor": "it does not reach what the rules ask for",
    "ceiling": "it does not keep to what the rules allow",
    TOO_GOOD: "it is too good for a model that has not seen these rows",
    TOO_FAR: "it is far better on the holdout than on the test rows, as if it had seen them",
    "classes never found": "it never finds one of the classes",
    CLASSES: "it does not know every class that the champion knows",
    "slices of the rows": "it is much worse on a slice of the rows",
    "calibration": "it is too sure of itself",
    "changed predictions": "it changes too many predictions",
    "behaviour": "it fails a behaviour suite",
    REPLAY: "its stored files do not repeat its predictions",
    "seconds to load": "it takes too long to load",
    "milliseconds": "it takes too long to predict",
    "megabytes": "it is too large",
    "requirements": "what it needs is not installed here",
}
"""What a check that failed means, by how its name begins."""


NOTHING = "nothing was checked"
WARNING = "warning: "
"""What the detail of a check begins with that passes, and should be read all the same."""


class Facts(NamedTuple):
    """What a sentence speaks of."""

    rules: GateRules
    contest: Contest
    champion: str | None
    rows: int
    scores: tuple[Interval, Interval] | None
    """The deciding metric of the challenger and the champion, if both were measured."""
    visible: float
    """The gain that these rows can show."""
    needed: int
    """How many rows can tell; 0 if that is not known."""
    has_classes: bool = True


def told(decision: Decision, done: Sequence[Check], facts: Facts) -> Iterator[str]:
    """The sentence, then each check that did not pass."""
    yield _sentence(decision, done, facts)
    for check in done:
        if check.outcome == "not_enough_data":
            told = ", ".join(filter(None, (f"{check.value:g} {check.name}", check.detail)))
            of = "groups" if check.name == GROUPS else "rows"
            needed = f"; {check.limit:g} {of} are needed" if (check.value or 0) < (check.limit or 0) else ""
            yield f"{told}{needed}{_worthwhile(facts) if of == 'rows' else ' to tell any difference from chance'}"
        elif check.outcome == "fail" and check.name.startswith(GAIN) and check.value is not None:
            limit = f"its interval must lie above {briefly(check.limit or 0)}"
            yield f"{check.name} is {_interval(check)}: {limit} ({check.detail}){_tolerated(facts)}"
        elif check.outcome == "fail":
            yield _failed(check)
        elif check.detail.startswith(WARNING):
            yield f"{check.name}: {check.detail}"


def _sentence(decision: Decision, done: Sequence[Check], facts: Facts) -> str:
    rows, rival = f"{facts.rows:,} rows", _rival(done, facts)
    worth = facts.rules.margin if facts.contest.rule == "retraining" else _worth(facts.rules)
    match decision:
        case "promote":
            return _accepted(done, facts)
        case "worse":
            return f"worse than {rival}{_scores(facts)}"
        case "no_better":
            return f"no better than {rival} by as much as is worth having, {briefly(worth)}{_scores(facts)}"
        case "cannot_tell":
            what = (
                f"is no worse than {rival} by {briefly(worth)}"
                if facts.contest.rule == "retraining"
                else f"beats {rival}"
            )
            return f"these {rows} cannot tell whether it {what}: {_shown(worth, facts)}"
        case "not_enough_data":
            return _too_few(done, facts)
    better = "no worse" if facts.contest.rule == "retraining" else "better"
    plain = PLAIN | {GAIN: f"it could not be shown to be {better} than {rival}"}
    return "; ".join(dict.fromkeys(_plain(check, plain) for check in done if check.outcome == "fail")) or NOTHING


def _too_few(done: Sequence[Check], facts: Facts) -> str:
    unseen = f"{facts.rows:,} rows that {'neither has' if facts.champion else 'it has not'} seen"
    groups = next((check for check in done if check.name == GROUPS and check.outcome == "not_enough_data"), None)
    if groups is None:
        return f"too few rows to judge on: {unseen}"
    return f"too few groups to judge on: {groups.value:g}, where {groups.limit:g} are needed, in {unseen}"


def _shown(worth: float, facts: Facts) -> str:
    """What the rows could have shown, and how many would tell."""
    told = f"they show a difference of {briefly(facts.visible, 2)} or more"
    told += f"; {briefly(worth)} takes about {facts.needed:,} rows"
    if facts.contest.risk(facts.rules) == facts.rules.risk:
        return told if facts.needed > facts.rows else "more rows may tell"
    before = facts.contest.judged_before
    others, new = (
        f"after {before:,} other{'s' if before != 1 else ''}",
        "that no verdict has used, as a new version adds",
    )
    return f"{others} {told} {new}" if facts.needed else f"{others} it takes rows {new}"


def _tolerated(facts: Facts) -> str:
    return "; gate.retraining.margin tolerates more" if facts.contest.rule == "retraining" else ""


def _accepted(done: Sequence[Check], facts: Facts) -> str:
    champion, contest = f"the champion {facts.champion}", facts.contest
    if facts.champion is None:
        chance = " and than chance" if facts.has_classes else ""
        return f"first champion: better than any constant answer{chance} on {facts.rows:,} rows it has not seen"
    if all(check.low is not None and check.low > 0 for check in done if check.name.startswith(GAIN)):
        return f"better than {champion}{_scores(facts)}"
    if contest.rule == "retraining":
        margin = briefly(facts.rules.margin)
        return f"trained again and not worse than {champion} by as much as {margin}{_scores(facts)}"
    loss = briefly(-facts.rules.min_gain)
    return f"not worse than {champion} by more than the {loss} that is tolerated{_scores(facts)}"


def _scores(facts: Facts) -> str:
    if facts.scores is None:
        return ""
    new, old = (each.value for each in facts.scores)
    return f": {facts.rules.metric} {shown(new)} instead of {shown(old)} on {facts.rows:,} rows that neither has seen"


def _rival(done: Sequence[Check], facts: Facts) -> str:
    """Who the challenger was worse, else not better than: the champion, or what the name of the check says."""
    failed = [check for check in done if check.name.startswith(GAIN) and check.outcome != "pass"]
    worse = [check for check in failed if check.high is not None and check.high < 0]
    other = next((check.name.partition(" over ")[2] for check in worse or failed), "")
    return other or (f"the champion {facts.champion}" if facts.champion else "an answer that takes no model")


def _worth(rules: GateRules) -> float:
    return abs(rules.min_gain) if rules.min_gain < 0 else max(rules.min_gain, rules.worthwhile_gain)


def _plain(check: Check, plain: Mapping[str, str]) -> str:
    return next((words for name, words in plain.items() if check.name.startswith(name)), check.name)


def _failed(check: Check) -> str:
    if check.detail or check.value is None or check.limit is None:
        return f"{check.name}: {check.detail}"
    side = "below" if check.value < check.limit else "above"
    return f"{check.name}: {shown(check.value)} is {side} {briefly(check.limit)}"


def _interval(check: Check) -> str:
    value, low, high = (shown(number or 0, "+") for number in (check.value, check.low, check.high))
    return f"{value} [{low}, {high}]"


def _worthwhile(facts: Facts) -> str:
    """How many rows it would take, as far as two models on a few rows can tell."""
    if not facts.needed:
        return ""
    margin = facts.rules.margin if facts.contest.rule == "retraining" else _worth(facts.rules)
    return (
        f"; to see a difference of {briefly(margin)} in {facts.rules.metric} with a power of {facts.rules.power:.0%} "
        f"takes about {facts.needed:,} rows"
    )
