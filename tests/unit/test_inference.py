"""A batch is scored with one exact model and published whole or not at all."""

import itertools
import json
import random
import resource
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle import settings
from lifecycle.core import progress
from lifecycle.core.errors import ConfigError, ConflictError, DataError, IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.data.source import Source
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.models import loading
from lifecycle.registry import promotion
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from lifecycle.settings.rules import InferenceRules
from tests.conftest import train_model, tree
from tests.unit.test_answers import registered

POSITIVE, NEGATIVE, NEUTRAL = (
    "profit rose to a record",
    "loss widened as sales fell",
    "the company will hold its meeting",
)


class Models(NamedTuple):
    """The champion of dev, version 1, and the same model by its run alone."""

    champion: ModelRef
    run: ModelRef


@pytest.fixture(scope="module")
def models(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("inference") / "state"
    shutil.copytree(prepared, folder)
    config = settings.load("dev", home=folder)
    target = Target(tracking_uri=config.mlflow_uri, name=config.registered_name("sentiment"))
    run = train_model(config, "logistic_regression")
    promotion.promote(promotion.intend(target, run, None, reason="the first"))
    champion = promotion.champion(target)
    assert champion is not None
    return Models(champion, run)


def table(path: Path, rows: list[str], header: str = "text") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def requested(
    model: ModelRef, path: Path, output: Path, *, rows_per_part: int = 20_000, **changes: object
) -> BatchRequest:
    given = {
        "model": model,
        "input": Source(uri=str(path)),
        "text_column": "text",
        "output_root": output,
        "inference": InferenceRules(rows_per_part=rows_per_part, workers=1),
    }
    return BatchRequest.model_validate(given | changes)


def predicted(request: BatchRequest) -> pd.DataFrame:
    """Run a batch and read what it published, as a reader would: by its manifest."""
    batch.infer(request)
    folder, _ = batches.locate(request)
    parts = [name for name in batches.load(folder).parts if name != batches.REJECTED]
    return pd.concat([pd.read_parquet(folder / name) for name in sorted(parts)], ignore_index=True)


def rejected(request: BatchRequest) -> list[tuple[int, str, str, str]]:
    rows = pd.read_parquet(batches.locate(request)[0] / batches.REJECTED)
    return list(rows[["row", "input_key", "reason", "text"]].itertuples(index=False, name=None))


def published(output: Path) -> list[str]:
    """Everything below the output root but the locks."""
    return [name for name in tree(output) if not name.endswith(".lock")]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond a size: the system's way of saying that the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_every_row_is_scored_or_rejected_with_its_reason(models: Models, tmp_path: Path) -> None:
    long = "profit " * 20_000
    rows = [f"a,{POSITIVE}", "b,", "c,   ", f"d,{NEGATIVE}", "e,\x07bell", f"f,{long}", f"g,{NEUTRAL}"]
    path = table(tmp_path / "in.csv", rows, "id,text")
    request = requested(models.champion, path, tmp_path / "out", key_column="id")
    assert predicted(request)["input_key"].tolist() == ["a", "d", "g"]
    assert [row[:3] for row in rejected(request)] == [
        (2, "b", "blank_text"),
        (3, "c", "blank_text"),
        (5, "e", "unusable_character"),
        (6, "f", "long_text"),
    ]
    manifest = batches.load(batches.locate(request)[0])
    assert (manifest.rows_in, manifest.scored) == (7, 3)
    assert manifest.rejected == {"blank_text": 2, "long_text": 1, "unusable_character": 1}
    assert manifest.labels == {"negative": 1, "neutral": 1, "positive": 1}


def test_each_prediction_names_its_row_and_the_model_that_made_it(models: Models, tmp_path: Path) -> None:
    path = table(tmp_path / "in.csv", [POSITIVE, "  ", NEGATIVE])
    rows = predicted(requested(models.champion, path, tmp_path / "out"))
    assert rows["label"].tolist() == ["positive", "negative"]
    assert rows["score"].between(1 / 3, 1).all()
    assert rows.drop(columns=["label", "score"]).to_dict("records") == [
        {
            "row": row,
            "input_key": str(row),
            "model_name": "dev.ml.sentiment",
            "model_version": 1,
            "run_id": models.run.run_id,
        }
        for row in (1, 3)
    ]


def test_predictions_lie_where_their_model_and_input_say(models: Models, tmp_path: Path) -> None:
    path = table(tmp_path / "in.csv", [POSITIVE])
    for model, place in (
        (models.champion, "dev.ml.sentiment/1"),
        (models.run, f"unregistered/run-{models.run.run_id}"),
    ):
        request = requested(model, path, tmp_path / "out")
        batch.infer(request)
        folder, digest = batches.locate(request)
        assert folder == tmp_path / "out" / place / digest[:16]
        manifest = batches.verify(folder, request)
        assert (manifest.artifact_sha256, manifest.input_digest) == (model.artifact_sha256, digest)
    changes = [{"text_column": "t"}, {"key_column": "k"}, {"input": Source(uri=str(path), delimiter=";")}]
    assert (
        len({batches.locate(requested(models.champion, path, tmp_path, **change))[1] for change in [{}, *changes]}) == 4
    )


def test_a_days_batch_is_found_by_its_day_whichever_version_made_it(models: Models, tmp_path: Path) -> None:
    path, day = table(tmp_path / "in.csv", [POSITIVE]), date(2026, 3, 29)
    for logical_date in (None, day, date(2026, 3, 30)):
        batch.infer(requested(models.champion, path, tmp_path / "out", logical_date=logical_date))
    other = models.champion.model_copy(update={"version": 2})
    batch.infer(requested(other, path, tmp_path / "out", logical_date=day))
    name = str(models.champion.name)
    found = batches.of_day(tmp_path / "out", name, day)
    assert [(each.model_version, each.logical_date) for each in found] == [(1, day), (2, day)]
    assert batches.of_day(tmp_path / "out", name, date(2026, 3, 28)) == []
    folders = sorted(each.name for each in (tmp_path / "out" / name / "1").iterdir() if each.is_dir())
    assert [each[:11] for each in folders[:2]] == ["2026-03-29-", "2026-03-30-"]
    assert len({each[-16:] for each in folders}) == 1  # the digest is that of the input


def test_a_long_batch_tells_how_far_it_is(models: Models, tmp_path: Path) -> None:
    path, heard = table(tmp_path / "in.csv", [POSITIVE] * 25), list[float]()
    with progress.heard_by(heard.append):
        batch.infer(requested(models.champion, path, tmp_path / "out", rows_per_part=10))
        batch.infer(requested(models.run, path, tmp_path / "out"))  # in one part there is nothing to tell
    assert heard == [pytest.approx(10 / 26), pytest.approx(20 / 26), pytest.approx(25 / 26)]
    progress.report(1, 2)
    assert len(heard) == 3  # nobody listens


def test_data_without_labels_is_scored_and_labels_are_not_looked_at(models: Models, tmp_path: Path) -> None:
    plain = table(tmp_path / "plain.csv", [POSITIVE, NEUTRAL])
    labelled = table(tmp_path / "labelled.csv", [f"{POSITIVE},negative", f"{NEUTRAL},"], "text,label")
    one, other = (predicted(requested(models.champion, path, tmp_path / "out")) for path in (plain, labelled))
    pd.testing.assert_frame_equal(one, other)
    assert one["label"].tolist() == ["positive", "neutral"]


@pytest.mark.parametrize(("text", "label"), [(POSITIVE, "positive"), (NEGATIVE, "negative"), (NEUTRAL, "neutral")])
def test_a_batch_of_one_class_decodes_to_that_class(models: Models, tmp_path: Path, text: str, label: str) -> None:
    path = table(tmp_path / "in.csv", [f"{text} {number}" for number in range(5)])
    assert set(predicted(requested(models.champion, path, tmp_path / "out"))["label"]) == {label}


def test_a_text_is_scored_the_same_alone_and_in_any_company(models: Models, tmp_path: Path) -> None:
    texts = [POSITIVE, NEGATIVE, "orders fell in the office", "unknown words only", "profit", "fell fell fell"]
    together = predicted(requested(models.champion, table(tmp_path / "all.csv", texts), tmp_path / "out"))
    for number, text in enumerate(texts):
        alone = predicted(requested(models.champion, table(tmp_path / f"{number}.csv", [text]), tmp_path / "out"))
        assert alone["label"][0] == together["label"][number]
        assert alone["score"][0] == pytest.approx(together["score"][number], abs=1e-12)


def test_predictions_are_those_of_the_model(models: Models, tmp_path: Path) -> None:
    texts = [POSITIVE, NEGATIVE, NEUTRAL, "NA", "null", "007", '"quoted, with comma"']
    rows = predicted(requested(models.champion, table(tmp_path / "in.csv", texts), tmp_path / "out"))
    expected = loading.load(models.champion).predict(None, pd.DataFrame({"text": [*texts[:-1], "quoted, with comma"]}))
    assert rows["label"].tolist() == expected["label"].tolist()
    assert rows["score"].tolist() == pytest.approx(expected["score"].tolist())


@pytest.mark.parametrize("text_column", ["reason", "input_key", "row", "label", "Text of the customer"])
def test_any_name_of_the_text_column_will_do(models: Models, tmp_path: Path, text_column: str) -> None:
    path = table(tmp_path / "in.csv", [f"a,{POSITIVE}", "b,\x07bell"], f"id,{text_column}")
    request = requested(models.champion, path, tmp_path / "out", text_column=text_column, key_column="id")
    assert predicted(request)[["input_key", "label"]].to_numpy().tolist() == [["a", "positive"]]
    assert rejected(request) == [(2, "b", "unusable_character", "\x07bell")]


def test_keys_that_are_no_texts_stay_apart(models: Models, tmp_path: Path) -> None:
    ids = [uuid.UUID(int=n << 120 | 0xFFFE) for n in range(3)]
    kinds = {"uuid": pa.array([each.bytes for each in ids], pa.uuid()), "raw": pa.array([each.bytes for each in ids])}
    for name, column in kinds.items():
        pq.write_table(pa.table({"text": [POSITIVE, NEGATIVE, POSITIVE], "id": column}), tmp_path / f"{name}.parquet")
        request = requested(models.champion, tmp_path / f"{name}.parquet", tmp_path / name, key_column="id")
        found = predicted(request)["input_key"].tolist()
        assert len(set(found)) == 3
        assert name == "raw" or found == [str(each) for each in ids]


def test_a_text_or_key_that_is_no_unicode_cannot_stop_a_batch(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    cells = [("a", POSITIVE), ("b", "half \ud83d"), ("half \ud83d", NEGATIVE), ("d", "")]
    path.write_text("\n".join(json.dumps({"id": key, "text": text}) for key, text in cells))
    request = requested(models.champion, path, tmp_path / "out", key_column="id")
    assert predicted(request)["input_key"].tolist() == ["a", "half \\ud83d"]
    assert [row[:3] for row in rejected(request)] == [(2, "b", "unusable_character"), (4, "d", "blank_text")]


def test_the_same_batch_again_changes_no_byte(models: Models, tmp_path: Path) -> None:
    request = requested(models.champion, table(tmp_path / "in.csv", [POSITIVE, "  ", NEGATIVE]), tmp_path / "out")
    batch.infer(request)
    before, written = tree(tmp_path / "out"), batches.locate(request)[0].stat().st_mtime_ns
    batch.infer(request)
    assert tree(tmp_path / "out") == before
    assert batches.locate(request)[0].stat().st_mtime_ns == written


def test_the_same_batch_elsewhere_is_byte_identical(models: Models, tmp_path: Path) -> None:
    path = table(tmp_path / "in.csv", [POSITIVE, "  ", NEGATIVE])
    for place in ("one", "two"):
        batch.infer(requested(models.champion, path, tmp_path / place))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize("workers", [1, 2])
def test_parts_and_processes_do_not_change_the_rows(models: Models, tmp_path: Path, workers: int) -> None:
    texts = [f"{text} {number}" for number in range(10) for text in (POSITIVE, NEGATIVE, NEUTRAL)]
    path = table(tmp_path / "in.csv", [*texts, "   ", "   "])
    whole = predicted(requested(models.champion, path, tmp_path / "whole"))
    rules = InferenceRules(rows_per_part=7, workers=workers)
    request = requested(models.champion, path, tmp_path / "parts", inference=rules)
    pd.testing.assert_frame_equal(predicted(request), whole, rtol=0, atol=1e-12)
    manifest = batches.load(batches.locate(request)[0])
    assert sorted(manifest.parts) == [f"part-{number:05d}.parquet" for number in range(5)] + [batches.REJECTED]
    assert [row[0] for row in rejected(request)] == [31, 32]


def test_a_long_batch_says_every_few_seconds_how_far_it_is(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = table(tmp_path / "in.csv", [POSITIVE, NEGATIVE, NEUTRAL] * 3)
    pace = progress.Pace()
    assert not pace.is_due()
    assert progress.Pace(0).is_due()
    monkeypatch.setattr(progress.Pace, "is_due", lambda _: True)
    with caplog.at_level("INFO", "lifecycle"):
        batch.infer(requested(models.champion, path, tmp_path / "out", rows_per_part=4))
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Scored")]
    assert said == [f"Scored {rows} of about 10 rows" for rows in (4, 8, 9)]


def test_a_chunk_with_nothing_to_score_makes_no_part(models: Models, tmp_path: Path) -> None:
    path = table(tmp_path / "in.csv", [POSITIVE, NEGATIVE, "  ", '""', NEUTRAL])
    request = requested(models.champion, path, tmp_path / "out", rows_per_part=2)
    assert predicted(request)["row"].tolist() == [1, 2, 5]
    assert sorted(batches.load(batches.locate(request)[0]).parts) == [
        "part-00000.parquet",
        "part-00002.parquet",
        "rejected.parquet",
    ]


def test_rejected_rows_are_told_and_a_batch_of_nothing_else_loudly(
    models: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "lifecycle"):
        for name, texts in (("some", [POSITIVE, "  ", "\x07bell"]), ("none", ["  "]), ("all", [POSITIVE])):
            batch.infer(requested(models.champion, table(tmp_path / f"{name}.csv", texts), tmp_path / name))
    told = [(each.levelname, each.getMessage()) for each in caplog.records if each.getMessage().startswith("Rejected")]
    assert told == [
        ("INFO", "Rejected 2 rows of 3: blank_text 1, unusable_character 1"),
        ("WARNING", "Rejected 1 rows and scored none: blank_text 1"),
    ]


def test_a_batch_of_blank_texts_only_is_published_as_rejected(models: Models, tmp_path: Path) -> None:
    request = requested(models.champion, table(tmp_path / "in.csv", ["  ", '""']), tmp_path / "out")
    batch.infer(request)
    manifest = batches.verify(batches.locate(request)[0], request)
    assert (manifest.rows_in, manifest.scored, manifest.rejected, manifest.labels) == (2, 0, {"blank_text": 2}, {})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"body\nprofit\n", "no column 'text'"),
        (b"", "the file is empty"),
        (b"text\n" + b"profit\n" * 9 + b"profit,rose\n", "row 10, line 11: 2 fields instead of 1"),
        (b"text\n" + b"profit\n" * 9 + b"caf\xe9\n", "byte offset 71"),
        (b'text\nprofit\nprofit\nprofit\n"never closed\n', "row 4"),
    ],
)
@pytest.mark.parametrize("rows_per_part", [2, 1000])
def test_a_malformed_table_publishes_nothing_and_leaves_nothing(
    models: Models, tmp_path: Path, content: bytes, words: str, rows_per_part: int
) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    request = requested(models.champion, path, tmp_path / "out", rows_per_part=rows_per_part)
    with pytest.raises(DataError, match=words):
        batch.infer(request)
    assert published(tmp_path / "out") == []
    assert list((tmp_path / "out").rglob(".partial-*")) == []


def test_an_input_that_is_not_there_is_an_error(models: Models, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        batch.infer(requested(models.champion, tmp_path / "no.csv", tmp_path / "out"))


def test_a_model_that_is_not_what_was_registered_scores_nothing(models: Models, tmp_path: Path) -> None:
    other = models.champion.model_copy(update={"artifact_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="the files digest to"):
        batch.infer(requested(other, table(tmp_path / "in.csv", [POSITIVE]), tmp_path / "out"))
    assert published(tmp_path / "out") == []


def test_a_model_that_answers_fewer_texts_publishes_nothing(news: Settings, tmp_path: Path) -> None:
    model = registered(news, lambda likely: likely[1:], tmp_path).model_copy(update={"name": "outside", "version": 1})
    path = table(tmp_path / "in.csv", [f"{POSITIVE} {number}" for number in range(40)])
    with pytest.raises(DataError, match="outside v1 answers 40 texts with 39 predictions"):
        batch.infer(requested(model, path, tmp_path / "out"))
    assert published(tmp_path / "out") == []


def interrupted(models: Models, tmp_path: Path) -> BatchRequest:
    """A batch of three parts whose last one, with its long keys, does not fit on the disk."""
    letters = random.Random(0)
    keys = [str(number) for number in range(20)] + [letters.randbytes(90_000).hex() for _ in range(10)]
    texts = itertools.cycle([POSITIVE, NEGATIVE, "  "])
    path = table(tmp_path / "in.csv", [f"{key},{text}" for key, text in zip(keys, texts, strict=False)], "id,text")
    request = requested(models.champion, path, tmp_path / "out", rows_per_part=10, key_column="id")
    with full_disk(800_000), pytest.raises(OSError, match="File too large"):
        batch.infer(request)
    return request


def test_on_a_full_disk_nothing_is_published(models: Models, tmp_path: Path) -> None:
    request = interrupted(models, tmp_path)
    assert not batches.locate(request)[0].exists()
    assert [name for name in published(tmp_path / "out") if ".partial-" not in name or ".tmp-" in name] == []


def test_a_batch_resumes_after_its_finished_parts(models: Models, tmp_path: Path) -> None:
    request = interrupted(models, tmp_path)
    final = batches.locate(request)[0]
    [partial] = final.parent.glob(".partial-*")
    finished = {path.name: path.stat() for path in partial.glob("part-*.parquet")}
    assert sorted(finished) == ["part-00000.parquet", "part-00001.parquet"]
    batch.infer(request)
    for name, before in finished.items():
        after = (final / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    undisturbed = request.model_copy(update={"output_root": tmp_path / "undisturbed"})
    batch.infer(undisturbed)
    assert tree(final) == tree(batches.locate(undisturbed)[0])
    assert batches.load(final).scored == 20
    assert not partial.exists()


def test_parts_of_other_rows_are_not_taken_over(models: Models, tmp_path: Path) -> None:
    """An interrupted run has scored rows that were there for a moment only, under the digest of those before."""
    letters = random.Random(1)
    path = table(tmp_path / "in.csv", [f"{n},{NEGATIVE}" for n in range(15)], "id,text")
    sound = batches.pinned(requested(models.champion, path, tmp_path / "out", rows_per_part=10, key_column="id"))
    other = [
        *(f"{n},{POSITIVE}" for n in range(20)),
        *(f"{letters.randbytes(90_000).hex()},{NEUTRAL}" for _ in range(10)),
    ]
    table(path, other, "id,text")
    with full_disk(800_000), pytest.raises(OSError, match="File too large"):
        batch.infer(sound)
    [partial] = batches.locate(sound)[0].parent.glob(".partial-*")
    assert len(list(partial.glob("part-*.parquet"))) == 2
    table(partial / "part-00007.parquet", [])
    table(path, [f"{n},{NEGATIVE}" for n in range(15)], "id,text")
    assert set(predicted(sound)["label"]) == {"negative"}
    undisturbed = sound.model_copy(update={"output_root": tmp_path / "undisturbed"})
    batch.infer(undisturbed)
    assert tree(batches.locate(sound)[0]) == tree(batches.locate(undisturbed)[0])


@pytest.mark.parametrize("moment", ["before it is scored", "while it is scored"])
def test_an_input_that_is_replaced_publishes_nothing(models: Models, tmp_path: Path, moment: str) -> None:
    path = table(tmp_path / "in.csv", [f"{POSITIVE} {n}" for n in range(100)])
    request = batches.pinned(requested(models.champion, path, tmp_path / "out", rows_per_part=10))
    final, _ = batches.locate(request)
    seen: list[float] = []

    def replace(fraction: float) -> None:
        seen.append(fraction)
        if len(seen) == 3:
            table(tmp_path / "new.csv", [f"{NEGATIVE} {n}" for n in range(100)]).replace(path)

    if moment == "before it is scored":
        table(path, [f"{NEGATIVE} {n}" for n in range(100)])
    with (
        progress.heard_by(replace if moment == "while it is scored" else seen.append),
        pytest.raises(ConflictError, match=f"{path} changed while it was read; nothing was published"),
    ):
        batch.infer(request)
    assert len(seen) > 2
    assert published(tmp_path / "out") == []
    assert list((tmp_path / "out").rglob(".partial-*")) == []
    again = batches.pinned(request.model_copy(update={"input_sha256": None}))
    assert set(predicted(again)["label"]) == {"negative"}
    assert batches.locate(again)[0] != final
    with pytest.raises(ConflictError):
        batch.infer(request)  # it is still another content than what was planned


def test_what_lies_beside_text_and_key_does_not_stop_a_batch(models: Models, tmp_path: Path) -> None:
    rows = [{"text": POSITIVE, "id": 7, "tags": ["a"], "\x00": {}}, {"text": ["no"], "n": float("nan")}, {"id": "\b"}]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    request = requested(models.champion, path, tmp_path / "out", key_column="id")
    assert predicted(request)["input_key"].tolist() == ["7"]
    assert rejected(request) == [(2, "", "not_text", '["no"]'), (3, "\b", "blank_text", "")]


@pytest.mark.parametrize("name", ["part-00000.parquet", "rejected.parquet", "manifest.json"])
@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_published_files_that_were_tampered_with_are_noticed(
    models: Models, tmp_path: Path, name: str, damage: str
) -> None:
    request = requested(models.champion, table(tmp_path / "in.csv", [POSITIVE, "  "]), tmp_path / "out")
    batch.infer(request)
    path = batches.locate(request)[0] / name
    path.unlink() if damage == "removed" else path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match="infer again"):
        batch.infer(request)


def test_predictions_of_another_model_in_its_place_are_noticed(models: Models, tmp_path: Path) -> None:
    request = requested(models.champion, table(tmp_path / "in.csv", [POSITIVE]), tmp_path / "out")
    batch.infer(request)
    other = models.champion.model_copy(update={"artifact_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="made by another model"):
        batch.infer(request.model_copy(update={"model": other}))


def test_parts_hold_the_documented_columns(models: Models, tmp_path: Path) -> None:
    request = requested(models.champion, table(tmp_path / "in.csv", [POSITIVE, "  "]), tmp_path / "out")
    batch.infer(request)
    folder, _ = batches.locate(request)
    kinds = {name: {f.name: str(f.type) for f in pq.read_schema(folder / name)} for name in batches.load(folder).parts}
    assert kinds == {
        "part-00000.parquet": {
            "row": "int64",
            "input_key": "string",
            "label": "string",
            "score": "double",
            "model_name": "string",
            "model_version": "int64",
            "run_id": "string",
        },
        "rejected.parquet": {"row": "int64", "input_key": "string", "reason": "string", "text": "string"},
    }
