"""Who is served while a new champion is tried out: the same for the same facts, whoever was killed before."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from lifecycle.serving.canary import Facts, Plan, decide
from lifecycle.settings.rules import ServingRules

NOW = datetime(2026, 5, 1, tzinfo=UTC)
RULES = ServingRules(canary_traffic=10, canary_hours=24)
VERSIONS = st.integers(1, 4)
FACTS = st.builds(
    Facts,
    champion=VERSIONS,
    line=st.lists(VERSIONS, unique=True).map(tuple),
    entry=st.just(9),
    kind=st.sampled_from(["promotion", "rollback", "adopt", "retire"]),
    shares=st.dictionaries(VERSIONS, st.integers(0, 100)),
    begun=st.none() | st.integers(0, 48).map(lambda hours: NOW - timedelta(hours=hours)),
    alerts=st.sampled_from([(), ("drift-1",)]),
    now=st.just(NOW),
)
FIRST = Facts(champion=2, line=(1, 2), entry=2, kind="promotion", shares={1: 90, 2: 10}, begun=NOW, now=NOW)


def carried_out(facts: Facts, plan: Plan) -> Facts:
    """The same facts once what was planned is served."""
    rest = {plan.former: 100 - plan.share} if plan.former else {}
    return facts._replace(shares={plan.champion: plan.share, **rest})


@example(FIRST._replace(shares={1: 1, 2: 100}, begun=None), False)
@given(FACTS, st.booleans())
def test_what_was_decided_stays_decided_once_it_is_served(facts: Facts, complete: bool) -> None:
    plan = decide(facts, RULES, complete=complete)
    assert plan.versions <= {facts.champion, *facts.line}
    again = decide(carried_out(facts, plan), RULES)
    if facts.begun is None or plan.former is None:
        assert again.versions == plan.versions
    if facts.kind != "promotion" or complete:
        assert plan == Plan(facts.champion)
    assert decide(facts, ServingRules()) == Plan(facts.champion)


def test_a_canary_begins_beside_who_answers_most_and_ends_with_its_window_unless_there_are_alerts() -> None:
    over = NOW - timedelta(hours=25)
    assert decide(FIRST._replace(shares={1: 100}, begun=None), RULES)[:3] == (2, 1, 10)
    assert decide(FIRST, RULES)[:3] == (2, 1, 10)
    assert decide(FIRST._replace(begun=over), RULES) == Plan(2)
    assert decide(FIRST._replace(begun=over, alerts=("drift-1",)), RULES)[:3] == (2, 1, 10)
    assert decide(FIRST._replace(champion=3, line=(1, 2, 3), begun=None), RULES)[:3] == (3, 1, 10)
    assert decide(FIRST._replace(shares={7: 100}), RULES) == Plan(2)
