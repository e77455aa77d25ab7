"""Pairs of texts: their identity, what is learnt of them, what a model reads, and which tables are taken for pairs."""

from datetime import date
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.data import dataset
from lifecycle.data.manifest import Manifest
from lifecycle.data.source import Source
from lifecycle.erasure.erase import erase
from lifecycle.erasure.wanted import Subject
from lifecycle.evaluation.slices import made_of
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.models import forms, loading, pipelines
from lifecycle.problems.contract import Column, Columns, inputs_of
from lifecycle.problems.known import named
from lifecycle.problems.learning import Spec
from lifecycle.problems.tabular.proposal import propose
from lifecycle.problems.text_classification import model as text_model
from lifecycle.problems.text_pair_classification import model as pair_model
from lifecycle.problems.text_pair_classification.identity import pair_key
from lifecycle.problems.text_pair_classification.learning import LEARNING
from lifecycle.problems.text_pair_classification.model import NUMBERS, PairModel, Words, compared, features
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import SliceRules
from lifecycle.tracking import runs
from lifecycle.training import train as training
from tests.pairs import pairs

NAME = "text-pair-classification"
INPUTS: Columns = (Column(name="premise", kind="text"), Column(name="hypothesis", kind="text"))
KINDS = {"premise": "text", "hypothesis": "text"}
TEXTS = st.text(st.sampled_from("ab Aé'0.漢\n"), max_size=12)


def write_version(config: Settings, rows: pd.DataFrame, version: str = "1", **arguments: object) -> Manifest:
    path = config.datasets.parent / f"pairs-{version}.csv"
    rows.to_csv(path, index=False)
    options: dict[str, object] = {"problem": NAME, "target": "judgment", "columns": KINDS, **arguments}
    request = dataset.state(config, Source(uri=str(path)), data_name="pairs", data_version=version, **options)
    dataset.create(request)
    return dataset.verify(config.datasets, "pairs", version)


def rows_of(config: Settings, version: str = "1") -> pd.DataFrame:
    return dataset.load_rows(config.datasets, "pairs", version)


def fitted(rows: pd.DataFrame, algorithm: str | None = None, **params: object) -> PairModel:
    pipeline = LEARNING.fit(Spec(algorithm, params, 0, INPUTS), rows[[*KINDS]], rows["judgment"])
    return PairModel(pipeline, [(column.name, column.kind) for column in INPUTS], NAME)


@given(TEXTS, TEXTS)
def test_a_pair_is_known_by_both_texts_in_their_order(one: str, other: str) -> None:
    assert pair_key(one, other) == pair_key(f" {one.upper().lower()} ", other) == pair_key(one, other)
    same = pair_key(one, other) == pair_key(other, one)
    assert same is (pair_key(one, one) == pair_key(other, one))
    assert pair_key(one, f"{other} c") != pair_key(f"{one} c", other) or same


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_features_depend_on_their_own_pair_alone_and_none_is_beyond_its_range(rows: list[tuple[str, str]]) -> None:
    one, other = zip(*rows, strict=True)
    together = features(one, other)
    alone = pd.concat([features([first], [second]) for first, second in rows], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone)
    shares = together[["overlap", "first_in_second", "second_in_first"]]
    assert shares.ge(0).all(axis=None)
    assert shares.le(1).all(axis=None)


@given(TEXTS, TEXTS)
def test_what_is_counted_of_a_pair_is_turned_round_with_it(one: str, other: str) -> None:
    ahead, back = compared(Words.of(one), Words.of(other)), compared(Words.of(other), Words.of(one))
    assert ahead["overlap"] == back["overlap"]
    assert ahead["first_in_second"] == back["second_in_first"]
    assert ahead["words_lost"] == back["words_added"]
    assert ahead["longer"] == -back["longer"]
    assert ahead["second_negated_alone"] == back["first_negated_alone"]
    assert {*ahead} == {*NUMBERS}


def test_a_text_says_no_by_its_words_and_not_by_their_letters() -> None:
    assert [Words.of(text).negations for text in ("Nobody can't", "Knots", "Kein Hund", "")] == [2, 0, 1, 0]


BY_WORDS = [name for name, entry in LEARNING.estimators.items() if name != "embedding" and not entry.base]


@pytest.mark.parametrize("algorithm", BY_WORDS)
def test_every_algorithm_learns_from_both_texts_and_is_read_again(algorithm: str, tmp_path: Path) -> None:
    rows = pairs(300)
    model = fitted(rows, algorithm, **({"n_estimators": 30} if algorithm == "random_forest" else {}))
    held_out = pairs(100, seed=8)
    answers = model.predict(None, held_out)
    assert (answers["label"] == held_out["judgment"]).mean() > 0.8
    stored = LEARNING.store(model.pipeline, INPUTS, tmp_path)
    trusted = pipelines.trusted_types()
    for read in (pair_model.read, text_model.read):
        again = PairModel(read(stored.artifacts["pipeline"], trusted), model.columns, NAME)
        pd.testing.assert_frame_equal(again.predict(None, held_out), answers)


def test_neither_text_is_lost_on_the_way() -> None:
    """Whoever reads one text alone cannot tell, and who takes one for the other is told otherwise."""
    rows, held_out = pairs(400), pairs(150, seed=9)
    truth = held_out["judgment"]
    both = fitted(rows)

    def right(model: PairModel, asked: pd.DataFrame) -> float:
        return float((model.predict(None, asked)["label"] == truth).mean())

    whole = right(both, held_out)
    assert whole > 0.9
    for reads in ("first", "second"):
        assert right(fitted(rows, reads=reads), held_out) < whole - 0.2
    for name in KINDS:
        shuffled = held_out.assign(**{name: held_out[name].sample(frac=1, random_state=0).to_numpy()})
        assert right(both, shuffled) < whole - 0.2, name
    exchanged = held_out.rename(columns={"premise": "hypothesis", "hypothesis": "premise"})
    assert right(both, exchanged) < whole - 0.2
    assert right(both, held_out[["hypothesis", "premise"]]) == whole, "by name, whatever the order"


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"premise": ["a"]}), "'hypothesis' is missing"),
        (pd.DataFrame([["a", "b", "c"]], columns=["premise", "premise", "hypothesis"]), "'premise' appears twice"),
        (pd.DataFrame({"premise": ["a"], "hypothesis": [None]}), "'hypothesis' holds None"),
        (pd.DataFrame({"premise": ["a", "a"], "hypothesis": ["b", 3]}), "'hypothesis' holds 3"),
    ],
)
def test_a_model_refuses_to_guess_a_text(frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fitted(pairs(100)).predict(None, frame)


def test_no_pair_gets_no_answer() -> None:
    answers = fitted(pairs(100)).predict(None, pairs(1).head(0))
    assert answers.dtypes.astype(str).to_dict() == {"label": "str", "score": "float64"}


@pytest.mark.parametrize(
    "params", [{"reads": "third"}, {"reads": ["second"]}, {"tfidf__ngram_range": (1, 2)}, {"tfidf__min_df": -1}]
)
def test_a_parameter_that_there_cannot_be_is_refused(params: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        fitted(pairs(100), **params)


def test_a_version_of_pairs_keeps_identity_order_and_reasons(config: Settings) -> None:
    rows = pairs(200)
    first = rows.iloc[0]
    extra = pd.DataFrame(
        [
            {**first, "premise": f" {first['premise'].upper()} "},
            {**first, "premise": first["hypothesis"], "hypothesis": first["premise"], "judgment": "neutral"},
            {**rows.iloc[1], "judgment": "neutral" if rows["judgment"][1] != "neutral" else "entailment"},
            {**first, "hypothesis": "  "},
            {**first, "judgment": ""},
        ]
    )
    manifest = write_version(config, pd.concat([rows, extra], ignore_index=True))
    assert manifest.inputs == INPUTS
    assert manifest.quarantined == {"blank_label": 1, "blank_text": 1, "conflicting_label": 2, "duplicate": 1}
    kept = rows_of(config)
    assert {"key", "premise", "hypothesis", "label", "split"} <= {*kept}
    assert kept["hypothesis"].isin([first["premise"]]).sum() == 1, "the other way round it is another pair"

    other_order = write_version(config, pairs(230)[["judgment", "hypothesis", "premise"]], "2")
    assert other_order.inputs == INPUTS
    before, after = (dict(zip(frame["key"], frame["split"], strict=True)) for frame in (kept, rows_of(config, "2")))
    shared = before.keys() & after.keys()
    assert len(shared) > 190
    assert all(before[key] == after[key] for key in shared)


def test_pairs_of_which_both_texts_are_nearly_the_same_stay_together(config: Settings) -> None:
    rows = pairs(200)
    copies = rows.head(60).assign(**{name: rows[name].head(60) + " @ann" for name in KINDS})
    everything = pd.concat([rows, copies], ignore_index=True)
    near = write_version(config, everything).near_duplicates
    assert near is not None
    assert near.pairs >= 60
    kept = rows_of(config)
    sides = dict(zip(zip(kept["premise"], kept["hypothesis"], strict=True), kept["split"], strict=True))
    twins = [(pair, tuple(f"{text} @ann" for text in pair)) for pair in rows[[*KINDS]].head(60).itertuples(index=False)]
    assert sum(sides[tuple(one)] == sides[other] for one, other in twins) >= 55, "as far as quotas allow"

    gone = copies["hypothesis"].iloc[0]
    erase([config], Subject(texts=(gone,)))
    left = dataset.load(config.datasets, "pairs", "1").near_duplicates
    assert left is not None
    assert left.rows < near.rows


def test_no_first_text_is_on_two_splits_where_it_decides(config: Settings) -> None:
    rows = pairs(300)
    rows["premise"] = rows["premise"].str.replace("is not", "is").str.split(" ").str[:4].str.join(" ")
    write_version(config, rows.drop_duplicates(["premise", "hypothesis"]), group_column="premise", stratify=())
    kept = rows_of(config)
    assert kept.groupby("premise")["split"].nunique().max() == 1
    assert kept["premise"].duplicated().any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"columns": {"premise": "text"}}, "a pair has two texts"),
        ({"columns": {**KINDS, "pair": "text"}}, "a pair has two texts"),
        ({"columns": {**KINDS, "pair": "numeric"}}, "no kind of a column"),
        ({"target": "premise"}, "no other column's part"),
        ({"time_column": "premise"}, "is a text, or the target"),
        ({"key": "pair"}, "a pair is its own key"),
    ],
)
def test_columns_that_are_no_pair_are_refused(config: Settings, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        write_version(config, pairs(60), **arguments)


def test_a_text_is_not_called_as_a_column_of_every_dataset(config: Settings) -> None:
    columns = {"text": "text", "hypothesis": "text"}
    with pytest.raises(ConfigError, match="cannot be called 'text'"):
        write_version(config, pairs(60, names=("text", "hypothesis")), columns=columns)


def test_another_text_than_the_parents_is_refused(config: Settings) -> None:
    write_version(config, pairs(60))
    with pytest.raises(ConfigError, match="'said' is declared text, and is no input"):
        write_version(
            config, pairs(60, names=("said", "hypothesis")), "2", columns={"said": "text", "hypothesis": "text"}
        )


def test_slices_are_by_overlap_and_length() -> None:
    rows = pairs(200).assign(truth="x")
    rules = SliceRules(by=("word_overlap", "text_length"))
    made = dict(made_of(named(NAME), INPUTS, rows, rules))
    assert len(made) == 8
    assert sum(mask.sum() for name, mask in made.items() if name.startswith("word_overlap")) == len(rows)


def test_a_trained_model_is_read_by_us_and_by_plain_mlflow_and_damage_is_told(config: Settings, tmp_path: Path) -> None:
    write_version(config, pairs(200))
    wanted = training.Training(data_name="pairs", data_version="1", model_name="pairs")
    request = training.plan(config, wanted)
    training.train(request)
    ref = runs.trained(config.mlflow_uri, request.run_id)
    model = loading.load(ref)
    assert (model.problem, model.inputs) == (NAME, ("premise", "hypothesis"))
    held_out = pairs(50, seed=8)
    mlflow.set_tracking_uri(ref.tracking_uri)
    plain = mlflow.pyfunc.load_model(ref.uri)
    pd.testing.assert_frame_equal(plain.predict(held_out[[*KINDS]]), model.predict(None, held_out))
    assert [column.type.name for column in plain.metadata.signature.inputs] == ["string", "string"]

    folder = Path(mlflow.artifacts.download_artifacts(ref.uri, dst_path=str(tmp_path)))
    described = folder / "artifacts" / "columns.json"
    assert forms.columns_of(described, "it").problem == NAME
    for wrong in (
        described.read_text().replace("text-pair", "text"),
        described.read_text().replace('"text"', '"numeric"'),
    ):
        described.write_text(wrong)
        with pytest.raises(IntegrityError, match=r"columns\.json cannot be read"):
            forms.columns_of(described, "it")


def test_a_person_leaves_by_either_text_and_does_not_come_again(config: Settings, tmp_path: Path) -> None:
    """From a version and from the batch of a file; the pairs of others stay, and the model that was fitted on these."""
    rows = pairs(200)
    whose = rows["hypothesis"][7]
    rows.loc[8, ["premise", "judgment"]] = [whose.upper(), "neutral"]
    others = rows[(rows["hypothesis"] != whose) & (rows.index != 8)]
    write_version(config, others)
    request = training.plan(config, training.Training(data_name="pairs", data_version="1", model_name="pairs"))
    training.train(request)
    write_version(config, rows, "2")
    more = tmp_path / "more.csv"
    rows.to_csv(more, index=False)
    of_file = BatchRequest(
        model=runs.trained(config.mlflow_uri, request.run_id),
        output_root=config.predictions,
        input=Source(uri=str(more)),
    )
    batch.infer(of_file)

    (vectors := config.state / "vectors" / "of_texts.sqlite").parent.mkdir(exist_ok=True)
    vectors.touch()
    done = erase([config], Subject(texts=(f" {whose.lower()}",)))
    assert not vectors.exists()
    gone = len(rows) - len(others)
    assert gone > 1
    assert {"dataset", "predictions"} <= {touched.kind for touched in done.touched}
    assert {*rows_of(config, "2")["key"]} == {*rows_of(config)["key"]}
    published = batches.verify(batches.locate(of_file)[0])
    assert (published.scored, published.rows_erased) == (len(others), gone)

    assert write_version(config, rows, "3").rows_erased == gone
    again = of_file.model_copy(update={"logical_date": date(2026, 11, 29)})
    batch.infer(again)
    assert batches.verify(batches.locate(again)[0]).rows_erased == gone


def test_the_importance_of_each_text_is_recorded(tmp_path: Path) -> None:
    rows = pairs(200)
    model = fitted(rows)
    (tmp_path / "plots").mkdir()
    LEARNING.explain(model.pipeline, rows[[*KINDS]], rows["judgment"], INPUTS, tmp_path)
    table = pd.read_csv(tmp_path / "importance.csv")
    assert {*table["input"]} == {*KINDS}
    assert (table["importance"] > 0.1).all()
    assert inputs_of(rows, INPUTS).columns.tolist() == [*KINDS]


@pytest.mark.parametrize(
    "names",
    [
        ("premise", "hypothesis"),
        ("sentence_A", "sentence_B"),
        ("sentence1", "sentence2"),
        ("Question", "Answer"),
        ("one text", "another"),
    ],
)
def test_two_texts_beside_a_class_are_proposed_as_a_pair(names: tuple[str, str]) -> None:
    table = pairs(200, names=names).assign(relatedness_score=[f"{n % 90 / 10:.1f}" for n in range(200)]).astype("str")
    for target in (None, "judgment"):
        proposal = propose(table, target)
        assert (proposal.problem, proposal.target) == (NAME, "judgment")
        assert [column.name for column in proposal.columns if column.kind == "text"] == [*names]
        assert {column.kind for column in proposal.columns if column.name not in names} == {"drop"}


def test_short_answers_are_a_text_beside_their_question_and_three_texts_are_none() -> None:
    table = pairs(200, names=("question", "answer")).astype("str")
    short = table.assign(answer=[f"word{n}" for n in range(200)])
    assert propose(short).problem == NAME
    three = table.assign(note=table["answer"] + " indeed")
    assert propose(three).problem == NAME, "two of them are called like a couple"
    assert propose(three.rename(columns={"answer": "remark"}), "judgment").problem == "tabular-classification"
    codes = table.rename(columns={"question": "body"}).drop(columns="answer")
    codes = codes.assign(zip_1=[f"a{n % 70}" for n in range(200)], zip_2=[f"b{n % 70}" for n in range(200)])
    assert propose(codes, "judgment").problem == "text-classification"
