"""Laws of the promotion log: who is champion follows from the versions alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import IntegrityError
from lifecycle.registry import log
from lifecycle.registry.log import Entry, Log, fold
from lifecycle.registry.store import Version

KINDS = ("promotion", "stale", "candidate", "rollback", "further_back", "adopt", "repeated_key", "pending")
RETIRING = (*KINDS[:-1], "retire", "retire", "retire_stale", "retire_champion")


@st.composite
def logs(draw: st.DrawFn, *, kinds: tuple[str, ...] = KINDS[:-1]) -> list[Entry]:
    """A log as promoters, rollbacks, hands and killed processes write it, up to 12 versions."""
    entries: list[Entry] = []
    for number in range(1, draw(st.integers(0, 12)) + 1):
        entries.append(_entry(draw, number, draw(st.sampled_from(kinds)), entries))
    return entries


def _entry(draw: st.DrawFn, number: int, kind: str, before: list[Entry]) -> Entry:
    """The next version of a log; an honest promotion where the kind is not possible yet."""
    now = fold(before)
    champion = now.champion or 0
    reigned = sorted({entry.makes_champion for entry in now.changes} - {champion})
    others = [entry.number for entry in before if entry.number != champion]
    removable = [entry.number for entry in before if entry.number != champion and not entry.retires]
    some = st.frozensets(st.sampled_from(removable or [0]), min_size=1, max_size=4)
    retire = {"kind": "retire", "expected": champion}
    changes = {
        "retire": removable and {**retire, "retires": draw(some)},
        "retire_stale": removable and {**retire, "retires": draw(some), "expected": draw(st.sampled_from(others))},
        "retire_champion": champion and {**retire, "retires": frozenset({champion})},
        "stale": others and {"expected": draw(st.sampled_from(others))},
        "candidate": {"expected": None, "key": ""},
        "rollback": now.previous and {"kind": "rollback", "target": now.previous},
        "further_back": reigned and {"kind": "rollback", "target": draw(st.sampled_from(reigned))},
        "adopt": others and {"kind": "adopt", "target": draw(st.sampled_from(others))},
        "repeated_key": before and {"key": draw(st.sampled_from(before)).key},
        "pending": {"ready": False},
    }
    honest = Entry(number=number, expected=champion, key=f"key {number}")
    return honest.model_copy(update=changes.get(kind) or {})


def promoted(count: int, *, outcome: str | None = None) -> list[Entry]:
    """Versions 1 to count, each promoted over the one before."""
    return [Entry(number=n, expected=n - 1, outcome=outcome) for n in range(1, count + 1)]


def rolled_back(entries: list[Entry], times: int = 1) -> list[Entry]:
    """The same log after rolling back some times."""
    for _ in range(times):
        now = fold(entries)
        entries = [
            *entries,
            Entry(number=len(entries) + 1, kind="rollback", expected=now.champion, target=now.previous),
        ]
    return entries


@given(logs(kinds=KINDS), st.randoms(use_true_random=False))
def test_the_order_in_which_versions_are_listed_does_not_matter(entries, random) -> None:
    shuffled = random.sample(entries, len(entries))
    assert fold(shuffled) == fold(entries)


@given(logs())
def test_each_entry_that_counts_was_judged_against_the_champion_before_it(entries) -> None:
    now = fold(entries)
    champions = [0, *(entry.makes_champion for entry in now.applied)]
    assert [entry.expected for entry in now.applied] == champions[:-1]
    assert (now.champion or 0) == champions[-1]
    assert now.line[-1:] == tuple(champions[1:][-1:])


@given(logs(), st.integers(0, 13))
def test_a_stale_entry_changes_nothing(entries, expected) -> None:
    now = fold(entries)
    late = Entry(number=len(entries) + 1, expected=expected, key="late")
    after = fold([*entries, late])
    assert after == now if expected != (now.champion or 0) else after.champion == late.number


@given(logs(), st.booleans())
def test_of_two_entries_against_the_same_champion_the_lower_number_counts(entries, swapped) -> None:
    first, second = (Entry(number=len(entries) + i, expected=fold(entries).champion or 0, key=str(i)) for i in (1, 2))
    now = fold([*entries, second, first] if swapped else [*entries, first, second])
    assert now.champion == first.number
    assert second not in now.applied


@given(logs(), st.data())
def test_an_idempotency_key_is_decided_by_its_lowest_number(entries, data) -> None:
    if not (keyed := [entry for entry in entries if entry.key]):
        return
    again = data.draw(st.sampled_from(keyed)).model_copy(
        update={"number": len(entries) + 1, "expected": fold(entries).champion or 0}
    )
    assert fold([*entries, again]) == fold(entries)


@given(logs(kinds=KINDS), st.sampled_from(KINDS), st.data())
def test_a_later_version_never_changes_earlier_history(entries, kind, data) -> None:
    before = fold(entries)
    after = fold([*entries, _entry(data.draw, len(entries) + 1, kind, entries)])
    assert after.applied[: len(before.applied)] == before.applied
    assert len(after.applied) <= len(before.applied) + 1


@given(logs())
def test_candidates_change_nothing(entries) -> None:
    assert fold(entries) == fold([entry for entry in entries if entry.expected is not None])


@given(logs(kinds=KINDS))
def test_a_version_still_being_written_ends_the_reading(entries) -> None:
    pending = [entry.number for entry in entries if not entry.ready]
    known = [entry for entry in entries if entry.number < min(pending, default=99)]
    found = fold(entries)
    assert found.pending == min(pending, default=None)
    assert found.model_copy(update={"pending": None}) == fold(known)


@given(logs())
def test_a_rollback_goes_one_step_back_on_the_line_of_champions(entries) -> None:
    now = fold(entries)
    if now.previous:
        assert fold(rolled_back(entries)).line == now.line[:-1]


@pytest.mark.parametrize(("times", "champion", "previous"), [(1, 3, 2), (2, 2, 1), (3, 1, None)])
def test_rolling_back_again_walks_further_back(times: int, champion: int, previous: int | None) -> None:
    now = fold(rolled_back(promoted(4), times))
    assert (now.champion, now.previous) == (champion, previous)


def test_a_promotion_after_a_rollback_continues_from_the_earlier_champion() -> None:
    entries = rolled_back(promoted(3), 2)
    entries.append(Entry(number=6, expected=1))
    assert fold(entries).line == (1, 6)
    assert fold(rolled_back(entries)).champion == 1


def test_a_rollback_to_a_champion_that_was_left_extends_the_line() -> None:
    entries = [*rolled_back(promoted(3), 2), Entry(number=6, kind="rollback", expected=1, target=3)]
    assert fold(entries).line == (1, 3)


def test_a_rollback_returns_to_the_last_place_of_a_champion_that_reigned_twice() -> None:
    adopted = Entry(number=3, kind="adopt", expected=2, target=1)
    entries = [*promoted(2), adopted, Entry(number=4, expected=1)]
    assert fold(entries).line == (1, 2, 1, 4)
    assert fold(rolled_back(entries)).line == (1, 2, 1)
    assert fold(rolled_back(entries, 2)).champion == 2


def test_a_log_without_entries_has_no_champion() -> None:
    assert (fold([]).champion, fold([]).head, fold([]).previous) == (None, 0, None)
    assert fold([Entry(number=1), Entry(number=2, expected=1)]).champion is None


def test_what_a_promotion_writes_is_what_the_log_reads() -> None:
    tags = {log.KIND: "rollback", log.EXPECTED: "12", log.TARGET: "7", log.KEY: "k", log.OUTCOME: log.APPLIED}
    read = Entry.of(13, "READY", tags)
    assert read == Entry(number=13, kind="rollback", expected=12, target=7, key="k", outcome="applied")
    assert read.makes_champion == 7


@pytest.mark.parametrize(
    ("status", "tags", "entry"),
    [
        ("READY", {}, Entry(number=3)),
        ("READY", {log.EXPECTED: log.NONE}, Entry(number=3, expected=0)),
        ("PENDING_REGISTRATION", {log.EXPECTED: "2"}, Entry(number=3, expected=2, ready=False)),
        ("FAILED_REGISTRATION", {log.EXPECTED: "2"}, Entry(number=3)),
    ],
)
def test_a_version_is_a_candidate_until_it_names_a_champion(status: str, tags: dict[str, str], entry: Entry) -> None:
    assert Entry.of(3, status, tags) == entry


@pytest.mark.parametrize(
    "tags",
    [
        {log.EXPECTED: "two"},
        {log.EXPECTED: ""},
        {log.EXPECTED: "-1"},
        {log.EXPECTED: "1.0"},
        {log.EXPECTED: "1", log.TARGET: "champion"},
        {log.EXPECTED: "1", log.TARGET: "-3"},
        {log.KIND: "coup"},
    ],
)
def test_tags_that_no_promotion_writes_are_an_error(tags: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match="Version 5 has unreadable promotion tags"):
        Entry.of(5, "READY", tags)


@pytest.mark.parametrize(
    ("outcomes", "explained"),
    [
        ("applied applied applied", set()),
        ("applied applied -", {2, 3}),
        ("applied - applied", {1, 2, 3}),
        ("applied - -", {1, 2, 3}),
        ("- - -", {None, 1, 2, 3}),
    ],
)
def test_only_an_interrupted_step_explains_another_alias(outcomes: str, explained: set[int | None]) -> None:
    written = [None if outcome == "-" else outcome for outcome in outcomes.split()]
    now = fold(Entry(number=n, expected=n - 1, outcome=outcome) for n, outcome in enumerate(written, 1))
    assert {alias for alias in (None, 0, 1, 2, 3, 4) if now.explains(alias)} == explained


def test_an_interrupted_rollback_explains_the_champion_before_it() -> None:
    now = fold(rolled_back(promoted(2, outcome=log.APPLIED)))
    assert [alias for alias in (None, 1, 2, 3) if now.explains(alias)] == [1, 2]


@given(logs(kinds=KINDS))
def test_a_log_survives_the_way_to_another_process(entries) -> None:
    assert Log.model_validate_json(fold(entries).model_dump_json()) == fold(entries)


def written(entries: list[Entry]) -> list[Version]:
    """The versions that a log was read from; what a `retire` entry carries is what `carry` makes of them."""
    versions: dict[int, Version] = {}
    for entry in entries:
        tags = {log.KEY: entry.key, log.KIND: entry.kind, log.REASON: f"reason {entry.number}", log.BY: "me"}
        if entry.expected is not None:
            tags[log.EXPECTED] = str(entry.expected or log.NONE)
        if entry.target:
            tags[log.TARGET] = str(entry.target)
        carried = {f"{log.RETIRED}{number}": log.carry(versions[number]) for number in entry.retires}
        versions[entry.number] = Version(
            version=entry.number, created_at=1000 + entry.number, run_id=f"run {entry.number}", tags=tags | carried
        )
    return list(versions.values())


def read(versions: list[Version]) -> Log:
    return fold(Entry.of(each.version, each.status, each.tags) for each in log.with_deleted(versions))


@given(logs(kinds=(*RETIRING, "pending")), st.randoms(use_true_random=False))
def test_with_deletions_too_the_order_in_which_versions_are_listed_does_not_matter(entries, random) -> None:
    assert fold(random.sample(entries, len(entries))) == fold(entries)


@given(logs(kinds=RETIRING))
def test_what_is_retired_is_neither_champion_nor_in_line_from_there_on(entries) -> None:
    gone: frozenset[int] = frozenset()
    for end in range(1, len(entries) + 1):
        now = fold(entries[:end])
        assert gone <= now.retired
        assert not now.retired & {now.champion, now.previous, *now.line}
        gone = now.retired


@given(logs(kinds=RETIRING), st.data())
def test_nothing_leads_back_to_a_retired_version(entries, data) -> None:
    now = fold(entries)
    if not now.retired:
        return
    kind, target = (
        data.draw(st.sampled_from(["promotion", "rollback", "adopt"])),
        data.draw(st.sampled_from(sorted(now.retired))),
    )
    back = Entry(number=len(entries) + 1, kind=kind, expected=now.champion or 0, target=target, key="back")
    assert fold([*entries, back]) == now


@given(logs(kinds=RETIRING), st.sampled_from(["retire", "retire_stale", "retire_champion"]), st.data())
def test_a_retirement_never_changes_the_champion(entries, kind, data) -> None:
    number, now = len(entries) + 1, fold(entries)
    others = st.frozensets(st.integers(1, number - 1), min_size=1) if entries else st.just(frozenset())
    expected = data.draw(st.sampled_from([now.champion or 0, number]))
    entry = Entry(number=number, kind="retire", expected=expected, retires=data.draw(others), key=f"key {kind}")
    after = fold([*entries, entry])
    assert after.champion == now.champion
    assert after.changes == now.changes
    counts = expected == (now.champion or 0) and now.champion not in entry.retires
    assert (entry in after.applied) == counts
    assert after.retired == (now.retired | entry.retires if counts else now.retired)


@given(logs(kinds=RETIRING))
def test_a_rollback_by_one_step_leads_to_another_version_than_the_champion(entries) -> None:
    now = fold(entries)
    assert now.previous is None or now.previous != now.champion


def test_when_the_champions_between_two_reigns_of_a_version_are_retired_it_reigned_once() -> None:
    adopted = Entry(number=3, kind="adopt", expected=2, target=1)
    between = Entry(number=4, kind="retire", expected=1, retires=frozenset({2}))
    now = fold([*promoted(2), adopted, between])
    assert (now.line, now.previous, now.champion) == ((1,), None, 1)


@given(logs(kinds=RETIRING))
def test_a_log_is_the_same_when_what_it_retired_is_gone(entries) -> None:
    """Deleted all at once or one by one, whatever the log has let go: nothing that was known before is lost."""
    versions = written(entries)
    before = read(versions)
    assert before == fold(entries)
    for number in [0, *sorted(before.retired)]:
        versions = [version for version in versions if version.version != number]
        assert read(versions) == before
        told = {each.version: each for each in log.with_deleted(versions)}
        assert sorted(told) == [entry.number for entry in entries]
        for version in written(entries):
            kept = told[version.version]
            assert kept.deleted == (kept.version not in {each.version for each in versions})
            assert (kept.created_at, kept.run_id, kept.tags) == (version.created_at, version.run_id, version.tags)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
tags_of_people = st.dictionaries(texts.filter(lambda key: not log.is_owned(key)), texts, max_size=5)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(
    tags_of_people,
    st.fixed_dictionaries(
        {
            log.KEY: digests,
            log.ARTIFACT: digests,
            log.DATASET: digests,
            log.VERDICT: digests,
            log.KIND: st.sampled_from(["promotion", "rollback", "adopt"]),
            log.EXPECTED: st.integers(1, 99_999).map(str),
            log.TARGET: st.integers(1, 99_999).map(str),
            log.OUTCOME: st.sampled_from([log.APPLIED, log.LOST]),
            log.GATE: st.just("passed"),
            log.SOURCE: digests.map(lambda text: f"models:/m-{text[:32]}"),
            log.BY: st.text("abcdefgh-", min_size=39, max_size=39),
            log.REASON: st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1000, max_size=1000),
            log.APPROVED_BY: st.text("abcdefgh .", min_size=100, max_size=100),
            log.APPROVAL: st.text("abcdefgh .", min_size=1000, max_size=1000),
        }
    ),
)
def test_what_a_deletion_keeps_of_a_version_fits_into_one_tag_of_unity_catalog(theirs, ours) -> None:
    version = Version(version=7, created_at=1_795_000_000_000, run_id="f" * 32, tags=theirs | ours)
    carried = log.carry(version)
    assert len(carried) <= 1000
    record = Version(version=9, tags={f"{log.RETIRED}7": carried})
    kept, _ = log.with_deleted([record])
    cut = {log.REASON: ours[log.REASON][:200], log.APPROVED_BY: ours[log.APPROVED_BY][:60]}
    assert kept == Version(
        version=7,
        created_at=version.created_at,
        run_id=version.run_id,
        tags={tag: cut.get(tag, value) for tag, value in ours.items() if tag != log.APPROVAL},
        deleted=True,
    )
    assert Entry.of(7, kept.status, kept.tags) == Entry.of(7, version.status, version.tags)
