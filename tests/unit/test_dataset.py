"""Dataset versions of real files: every row accounted for, no leaks, sides that stay, versions that never change.

Promise: Rows in = rows split + quarantined + erased; no text in two splits; a version never changes (also
`tests/unit/test_split.py`).
"""

import csv
import gzip
import json
import math
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError, DataError, IntegrityError, NotFoundError
from lifecycle.core.names import Side, natural
from lifecycle.data import dataset, validation
from lifecycle.data.manifest import CreateDataRequest, Manifest
from lifecycle.data.source import Source
from lifecycle.problems.text_classification import identity
from lifecycle.storage.files import sha256_of
from tests.conftest import tree

Table = Iterable[tuple[str, ...]]


def two_classes(rows: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"text {number}", ("good", "bad")[number % 2]) for number in range(start, start + rows)]


def write(path: Path, rows: Table, header: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def plan(root: Path, source: Path | str, data_version: str = "1.0.0", **arguments: Any) -> CreateDataRequest:
    config = settings.load("dev", home=root)
    return dataset.plan(config, Source(uri=str(source)), data_name="news", data_version=data_version, **arguments)


def make(root: Path, rows: Table, data_version: str = "1.0.0", **arguments: Any) -> Manifest:
    source = write(root / f"{data_version}.csv", rows, arguments.pop("header", ("text", "label")))
    dataset.create(plan(root, source, data_version, **arguments))
    return dataset.load(root / "data", "news", data_version)


def sides(root: Path, data_version: str) -> dict[str, str]:
    rows = dataset.load_rows(root / "data", "news", data_version)
    return dict(zip(rows["text"], rows["split"], strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with version 1.0.0 of 60 rows in two classes."""
    root = tmp_path_factory.mktemp("made")
    make(root, two_classes(60))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copytree(made, tmp_path / "root"))


MESSY = [
    *two_classes(60),
    ("", "good"),  # row 61
    (" \t\u3000\u00a0", "good"),
    ("a label is missing", " "),
    ("Text  7 ", "bad"),  # as row 8
    ("TEXT 7", "bad"),
    ("to and fro", "good"),  # row 66
    ("To and\nFro", "bad"),
    ("to and fro", "good"),
    ("x" * 10_001, "good"),
    ("  kept  ", " good "),  # row 70
    ("CAFE\u0301", "bad"),
    ("café", "bad"),
]
ASIDE = {
    61: ("blank_text", None),
    62: ("blank_text", None),
    63: ("blank_label", None),
    64: ("duplicate", 8),
    65: ("duplicate", 8),
    66: ("conflicting_label", None),
    67: ("conflicting_label", None),
    68: ("conflicting_label", None),
    69: ("long_text", None),
    72: ("duplicate", 71),
}


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("messy")
    make(root, MESSY)
    return root


def test_every_row_is_split_or_set_aside_with_its_reason(messy: Path) -> None:
    manifest = dataset.load(messy / "data", "news", "1.0.0")
    aside = pd.read_parquet(messy / "data" / "news" / "1.0.0" / "quarantine.parquet")
    kept = [None if pd.isna(row) else int(row) for row in aside["kept_row"]]
    assert dict(zip(aside["row"], zip(aside["reason"], kept, strict=True), strict=True)) == ASIDE
    rows = dataset.load_rows(messy / "data", "news", "1.0.0")
    assert sorted([*rows["row"], *aside["row"]]) == list(range(1, 73))
    assert (manifest.rows_in, manifest.rows_split, manifest.rows_quarantined) == (72, 62, 10)
    assert manifest.quarantined == Counter(reason for reason, _ in ASIDE.values())


def test_a_text_stands_once_whatever_its_case_blanks_and_composition(messy: Path) -> None:
    rows = dataset.load_rows(messy / "data", "news", "1.0.0")
    forms = rows["text"].map(identity.normalised)
    assert forms.is_unique
    assert not set(forms) & {"to and fro"}
    assert rows["key"].tolist() == [identity.text_key(text) for text in rows["text"]]


def test_rows_keep_their_text_and_only_outer_blanks_are_removed(messy: Path) -> None:
    manifest = dataset.load(messy / "data", "news", "1.0.0")
    rows = dataset.load_rows(messy / "data", "news", "1.0.0").set_index("row")
    assert rows.loc[70, ["text", "label"]].tolist() == ["kept", "good"]
    assert rows.loc[71, "text"] == "CAFE\u0301"
    assert manifest.trimmed == 5  # rows 62 to 64, and both cells of 70
    assert manifest.classes == ("bad", "good")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"train": 60, "test": 20, "holdout": 20}),
        ({"test_size": 0.2, "holdout_size": 0.5}, {"train": 30, "test": 20, "holdout": 50}),
        ({"test_size": "0.1", "holdout_size": "0.3"}, {"train": 60, "test": 10, "holdout": 30}),
        ({"holdout": False}, {"train": 80, "test": 20}),
        ({"holdout": "false", "holdout_size": 0}, {"train": 80, "test": 20}),
        ({"holdout": "True"}, {"train": 60, "test": 20, "holdout": 20}),
    ],
)
def test_sizes_are_fractions_of_the_whole(tmp_path: Path, arguments: dict[str, Any], expected: dict[str, int]) -> None:
    manifest = make(tmp_path, two_classes(100), **arguments)
    assert {side: sum(per_class.values()) for side, per_class in manifest.counts.items()} == expected
    assert all(per_class["good"] == per_class["bad"] for per_class in manifest.counts.values())
    for side in Side:
        assert len(dataset.load_rows(tmp_path / "data", "news", "1.0.0", side)) == expected.get(side, 0)


def test_parameters_as_text_make_the_same_version(root: Path) -> None:
    before = tree(root)
    as_text = {"stratify": "['label']", "holdout": "true", "test_size": "0.2", "holdout_size": "0.2"}
    dataset.create(plan(root, root / "1.0.0.csv", **as_text))
    assert tree(root) == before


BAD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"holdout": "no thanks"}, "holdout='no thanks'"),
    ({"holdout": 1}, "holdout=1"),
    ({"test_size": "much"}, "test_size='much'"),
    ({"test_size": 0.8, "holdout_size": 0.2}, "must be below 1"),
    ({"stratify": "label"}, "stratify='label'"),
    ({"stratify": "[1]"}, "stratify.0=1"),
    ({"nonsense": 1}, "nonsense=1"),
]


@pytest.mark.parametrize(("arguments", "fragment"), BAD_ARGUMENTS)
def test_a_wrong_argument_names_itself(tmp_path: Path, arguments: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ConfigError, match=r"See --help") as refused:
        plan(tmp_path, "news.csv", **arguments)
    assert fragment in str(refused.value)


def test_growth_keeps_every_side(root: Path) -> None:
    rows = [*two_classes(90, start=60)[::-1], *two_classes(60)]
    grown = make(root, rows, "2.0.0")
    first, second = sides(root, "1.0.0"), sides(root, "2.0.0")
    assert {text: second[text] for text in first} == first
    half = {"train": 45, "test": 15, "holdout": 15}
    assert grown.counts == {side: {"bad": count, "good": count} for side, count in half.items()}
    assert (grown.parent, grown.parent_digest) == ("1.0.0", dataset.load(root / "data", "news", "1.0.0").digest)


def test_a_parent_can_be_chosen(root: Path) -> None:
    sizes = {"test_size": 0.4, "holdout_size": 0.3}
    one, same, next_one = (
        make(root, two_classes(60), version, parent=parent, **sizes)
        for version, parent in [("2.0.0", "1.0.0"), ("1.0.1", "1.0.0"), ("1.0.2", "2.0.0")]
    )
    assert sides(root, "2.0.0") == sides(root, "1.0.2") == sides(root, "1.0.0")
    assert [m.parent for m in (one, same, next_one)] == ["1.0.0", "1.0.0", "2.0.0"]
    assert one.digest == same.digest != next_one.digest
    with pytest.raises(NotFoundError, match=r"'9.9.9'.*versions: 1.0.0, 1.0.1, 1.0.2, 2.0.0"):
        make(root, two_classes(60), "3.0.0", parent="9.9.9")
    with pytest.raises(ConflictError):
        make(root, two_classes(60), "1.0.1", parent="2.0.0", **sizes)
    assert make(root, two_classes(60), "3.0.0").parent == "1.0.2"  # the latest that is nobody's parent


def test_latest_is_the_version_that_is_nobodys_parent(root: Path) -> None:
    with pytest.raises(NotFoundError, match="no version of dataset nothing"):
        dataset.resolve(root / "data", "nothing", "latest")
    for version, parent in [("1.9.0", None), ("1.10.0", None), ("1.2.0", "1.10.0")]:
        make(root, two_classes(60), version, parent=parent)
    assert dataset.resolve(root / "data", "news", "latest") == "1.2.0"
    assert dataset.resolve(root / "data", "news", "1.9.0") == "1.9.0"
    with pytest.raises(ConfigError, match="'latest' are reserved"):
        make(root, two_classes(60), "latest")


def test_the_same_version_again_changes_nothing(root: Path) -> None:
    before = tree(root)
    make(root, two_classes(60))
    assert tree(root) == before
    make(root, two_classes(70), "2.0.0")
    before = tree(root)
    make(root, two_classes(60))
    make(root, two_classes(70), "2.0.0")
    assert tree(root) == before


SAME_ROWS = "exists with the same rows and other parameters: "
OTHER: list[tuple[Table, dict[str, Any], str]] = [
    ([*two_classes(59), ("text 59", "good")], {}, "other content: stored STORED, new [0-9a-f]{64}"),
    ([*two_classes(60), ("one more", "good")], {"test_size": 0.3}, "other content: stored STORED, new [0-9a-f]{64}"),
    (two_classes(60)[::-1], {}, "other content: stored STORED"),
    (two_classes(60), {"test_size": 0.3}, rf"{SAME_ROWS}test_size is 0\.2 there, 0\.3 here\."),
    (two_classes(60), {"holdout": False}, f"{SAME_ROWS}holdout is True there, False here; holdout_size"),
    (two_classes(60), {"stratify": "[]"}, rf"{SAME_ROWS}stratify is \['label'\] there, \[\] here"),
]


@pytest.mark.parametrize(("rows", "arguments", "told"), OTHER)
def test_other_content_under_a_taken_version_is_refused(
    root: Path, rows: Table, arguments: dict[str, Any], told: str
) -> None:
    stored = dataset.load(root / "data", "news", "1.0.0").digest
    request = plan(root, write(root / "other.csv", rows), **arguments)
    before = tree(root)
    with pytest.raises(ConflictError, match=told.replace("STORED", stored)):
        dataset.create(request)
    assert tree(root) == before


def write_as(suffix: str, folder: Path) -> Path:
    frame, path = pd.DataFrame(two_classes(60), columns=["text", "label"]), folder / f"rows{suffix}"
    as_csv = frame.to_csv(index=False).encode()
    if suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        lines = frame.to_json(orient="records", lines=True).encode()
        path.write_bytes({".csv": as_csv, ".csv.gz": gzip.compress(as_csv), ".jsonl": lines}[suffix])
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".parquet"])
def test_the_format_of_the_source_does_not_matter(root: Path, suffix: str) -> None:
    source = write_as(suffix, root)
    before = tree(root)
    dataset.create(plan(root, source))
    assert tree(root) == before


@pytest.mark.parametrize("name", ["split.parquet", "quarantine.parquet"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_changed_file_is_noticed(root: Path, name: str, damage: str) -> None:
    path = root / "data" / "news" / "1.0.0" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if damage == "gone":
        path.unlink()
    with pytest.raises(IntegrityError, match=name):
        dataset.verify(root / "data", "news", "1.0.0")
    with pytest.raises(IntegrityError, match=name):
        dataset.create(plan(root, root / "1.0.0.csv"))
    if name == "split.parquet":
        with pytest.raises(IntegrityError, match=name):
            dataset.load_rows(root / "data", "news", "1.0.0")


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("row", 99, "row numbers are not 1 to n"),
        ("text", " TEXT 1", "a text stands twice"),
        ("split", "dropped", "counts differ"),
        ("label", "worse", "counts differ"),
    ],
)
def test_a_forged_split_is_noticed_although_its_digest_fits(root: Path, column: str, value: Any, problem: str) -> None:
    folder = root / "data" / "news" / "1.0.0"
    rows = pd.read_parquet(folder / "split.parquet")
    rows.loc[0, column] = value
    rows.to_parquet(folder / "split.parquet", index=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["split.parquet"] = sha256_of(folder / "split.parquet")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match=problem):
        dataset.verify(root / "data", "news", "1.0.0")


@pytest.mark.parametrize("content", ["", "{}", "[1", '{"data_name": "news", "more": 1}'])
def test_a_broken_manifest_is_an_integrity_error(root: Path, content: str) -> None:
    (root / "data" / "news" / "1.0.0" / "manifest.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"manifest\.json is not a manifest"):
        dataset.load(root / "data", "news", "1.0.0")
    found, damaged = dataset.readable(root / "data")
    assert (found, ["is not a manifest" in str(error) for error in damaged]) == ([], [True])
    with pytest.raises(NotFoundError, match=r"no version '9'"):  # that is what was asked
        dataset.load(root / "data", "news", "9")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("news", "9"),
        ("olds", "1.0.0"),
        ("news", ".."),
        ("../data/news", "1.0.0"),
        ("/etc", "1"),
        ("a**", "1"),
        ("", ""),
    ],
)
def test_a_version_that_is_not_there_is_not_found(root: Path, name: str, version: str) -> None:
    known = "1.0.0" if name == "news" else "none"
    with pytest.raises(NotFoundError, match=rf"versions: {known}\)"):
        dataset.load(root / "data", name, version)


def expectation(kind: str, severity: str, column: str = "text", **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "severity": severity, "kwargs": {"column": column, **kwargs}}


UNIQUE, REGEX = "expect_column_values_to_be_unique", "expect_column_values_to_match_regex"
STOPPING = {
    "critical that fails": (expectation(REGEX, "critical", regex="text [0-5]"), r"1 expectations failed: .*text 6"),
    "critical on the table": (
        {"type": "expect_table_row_count_to_equal", "severity": "critical", "kwargs": {"value": 3}},
        r"expect_table_row_count_to_equal\(table\)",
    ),
    "warning on a column that is not there": (expectation(UNIQUE, "warning", "region"), r"unique\(region\).*region"),
    "critical on a column that is not there": (expectation(UNIQUE, "critical", "region"), r"unique\(region\).*region"),
    "warning that cannot be computed": (expectation(REGEX, "warning", regex="("), r"match_regex\(text\)"),
}


@pytest.mark.parametrize(("rule", "message"), STOPPING.values(), ids=STOPPING.keys())
def test_an_expectation_that_fails_or_cannot_be_computed_stops_and_leaves_nothing(
    root: Path, rule: dict[str, Any], message: str
) -> None:
    request = plan(root, write(root / "next.csv", two_classes(80)), "2.0.0")
    before = tree(root)
    with pytest.raises(DataError, match=message):
        dataset.create(request.model_copy(update={"suite": (*request.suite, rule)}))
    assert tree(root) == before
    assert [path.name for path in (root / "data" / "news").iterdir()] == ["1.0.0"]


def test_a_warning_sets_rows_aside_under_its_reason(root: Path) -> None:
    rule = expectation(REGEX, "warning", regex="text [0-5]") | {"meta": {"reason": "strange"}}
    request = plan(root, write(root / "next.csv", two_classes(70)), "2.0.0")
    dataset.create(request.model_copy(update={"suite": (rule,)}))
    manifest = dataset.load(root / "data", "news", "2.0.0")
    assert manifest.quarantined == {"strange": 14}  # 6 to 9 and 60 to 69
    assert manifest.validation[0]["examples"] == ["text 6", "text 7", "text 8", "text 9", "text 60"]


WRONG_RULES = [
    (expectation("expect_wonders", "critical"), "expect_wonders not found"),
    (expectation(REGEX, "mild", regex="a"), "Invalid severity 'mild'"),
    (expectation("expect_column_value_lengths_to_be_between", "critical", max_value="long"), "max_value"),
    ({"type": REGEX, "nonsense": 1}, "nonsense"),
]


@pytest.mark.parametrize(("rule", "message"), WRONG_RULES)
def test_a_rule_that_is_no_expectation_is_a_config_error(tmp_path: Path, rule: dict[str, Any], message: str) -> None:
    frame = pd.DataFrame(two_classes(30), columns=["text", "label"])
    with pytest.raises(ConfigError, match=f"suite is not valid: (.|\n)*{message}"):
        validation.check(frame, (rule,), tmp_path / "docs")


def test_a_dataset_can_have_its_own_expectations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_CONFIG_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match=r"default\.json"):
        validation.load_suite("news")
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations" / "default.json").write_text('{"expectations": [{"type": "a"}]}')
    (tmp_path / "expectations" / "news.json").write_text('{"expectations": [{"type": "b"}]}')
    (tmp_path / "expectations" / "olds.json").write_text('["no suite"]')
    assert validation.load_suite("other") == ({"type": "a"},)
    assert validation.load_suite("news") == ({"type": "b"},)
    with pytest.raises(ConfigError, match=r"olds\.json is not a Great Expectations suite"):
        validation.load_suite("olds")


def test_cells_cannot_run_as_script_in_the_reports(tmp_path: Path) -> None:
    script = "<script>canary()</script>"
    rows = [*two_classes(60), (script, "good"), (script, "good"), (script * 500, "bad"), ("", script)]
    request = plan(tmp_path, write(tmp_path / "rows.csv", rows))
    rule = expectation("expect_column_distinct_values_to_be_in_set", "warning", "label", value_set=["good"])
    dataset.create(request.model_copy(update={"suite": (*request.suite, rule)}))
    pages = {path: path.read_text(encoding="utf-8") for path in request.folder.rglob("*.html")}
    assert sum("&lt;script&gt;canary" in page for page in pages.values()) == 2
    assert not [name for name, page in pages.items() if "<script>canary" in page]


def test_sides_keep_the_proportions_of_two_columns(tmp_path: Path) -> None:
    rows = [(f"text {n}", ("good", "bad")[n % 2], ("north", "south", "east")[n % 3]) for n in range(100)]
    make(tmp_path, rows, header=("body", "mood", "region"), stratify="['mood', 'region']", **ROLES)
    table = dataset.load_rows(tmp_path / "data", "news", "1.0.0")
    for _, stratum in table.groupby(["label", "source_region"]):
        held = Counter(stratum["split"])
        for side, share in {"train": 0.6, "test": 0.2, "holdout": 0.2}.items():
            exact = round(share * len(stratum), 9)
            assert math.floor(exact) <= held[side] <= math.ceil(exact)
    assert table["source_region"].tolist() == [region for _, _, region in rows]


ROLES = {"text_column": "body", "label_column": "mood"}


@pytest.mark.parametrize("labels", [("0", "1"), ("True", "False"), ("=nein", "ja ✓"), ("NA", "null"), ("a", "A")])
def test_labels_are_any_two_strings(tmp_path: Path, labels: tuple[str, str]) -> None:
    manifest = make(tmp_path, [(f"text {n}", labels[n % 2]) for n in range(30)])
    assert manifest.classes == tuple(sorted(labels))
    assert manifest.counts["train"] == dict.fromkeys(labels, 9)


def test_a_class_without_training_rows_is_refused(tmp_path: Path) -> None:
    rows = [*two_classes(60), *((f"rare {n}", "odd") for n in range(10))]
    with pytest.raises(DataError, match=r"Class 'odd' has no row in train"):
        make(tmp_path, rows, test_size=0.3, holdout_size=0.6, stratify="[]")


def test_rows_set_aside_have_a_budget_and_repeats_do_not_count(tmp_path: Path) -> None:
    rows = [*two_classes(60), *two_classes(60)]
    blank = [(" ", "good")] * 40  # of 160: the quarter that is allowed
    assert make(tmp_path, [*rows, *blank]).rows_quarantined == 100
    message = r"41 of 161 rows .*blank_text 41.*row 121.*max_quarantine_fraction=0\.25"
    with pytest.raises(DataError, match=message):
        make(tmp_path, [*rows, *blank, (" ", "bad")], "2.0.0")


def test_versions_are_in_natural_order(tmp_path: Path) -> None:
    for version in ("1.10", "1.9", "1.9-rc"):
        make(tmp_path, two_classes(30), version)
    stray = tmp_path / "data" / "My files" / "1.0"
    stray.mkdir(parents=True)
    (stray / "manifest.json").write_text("{}")
    assert [m.data_version for m in dataset.versions(tmp_path / "data")] == ["1.9", "1.9-rc", "1.10"]
    assert sorted(["10", "9", "1.a", "1.10", "1.9"], key=natural) == ["1.9", "1.10", "1.a", "9", "10"]


def test_a_relative_source_is_looked_up_among_the_raw_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = root / "data" / "news" / "raw"
    raw.mkdir()
    write(raw / "rows.csv", two_classes(60))
    monkeypatch.chdir(tmp_path)
    assert plan(root, "rows.csv").source.uri == str(raw / "rows.csv")
    dataset.create(plan(root, "rows.csv"))
    here = write(tmp_path / "rows.csv", [])
    assert plan(root, "rows.csv").source.uri == str(here)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:secret@bucket/a/b.csv?X-Signature=secret#secret", "s3://bucket/a/b.csv"),
        ("abfss://container@account.net/b.csv?sig=secret", "abfss://container@account.net/b.csv"),
        ("https://user@host:8080/b.csv", "https://host:8080/b.csv"),
        ("/data/who@home?.csv", "/data/who@home?.csv"),
    ],
)
def test_a_shown_uri_has_no_secrets(uri: str, shown: str) -> None:
    assert Source(uri=uri).public_uri == shown


def test_no_secret_of_a_url_is_stored(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv?sig=canary", two_classes(30))
    request = plan(tmp_path, f"file://{tmp_path}/rows.csv?sig=canary")
    dataset.create(request)
    assert dataset.load(tmp_path / "data", "news", "1.0.0").source == f"file://{tmp_path}/rows.csv"
    assert not [name for name, content in tree(tmp_path / "data").items() if b"canary" in content]


def test_two_processes_that_create_a_version_both_succeed(tmp_path: Path) -> None:
    request = plan(tmp_path, write(tmp_path / "rows.csv", two_classes(60)))
    spawn = multiprocessing.get_context("spawn")  # both import Great Expectations between the look and the rename
    racers = [spawn.Process(target=dataset.create, args=(request,)) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert dataset.verify(tmp_path / "data", "news", "1.0.0").rows_split == 60
    assert [path.name for path in (tmp_path / "data" / "news").iterdir()] == ["1.0.0"]
