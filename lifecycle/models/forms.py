"""The forms of models, told by the names of their artifacts: of each, what reads it. No code of a model's is run."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Self

from cachetools import LRUCache, cached
from pydantic import Field, model_validator

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import TEXT_CLASSIFICATION, ProblemName
from lifecycle.core.references import ModelRef
from lifecycle.models.mlmodel import MOST_DESCRIPTION
from lifecycle.models.pipelines import DO_NOT_USE, read_pipeline, require_answers, said
from lifecycle.problems.contract import TEXT_COLUMNS, Columns
from lifecycle.problems.known import named

VADER_FILES = ("vader_lexicon.txt", "emoji_utf8_lexicon.txt")
ENCODER_MISSING = "Install them: pip install 'mlops-lifecycle[embeddings]'"
VADER_MISSING = "Install it: pip install 'mlops-lifecycle[vader]'"


class _Columns(Frozen):
    """What a model says that it is, and that it reads, where that is not one text."""

    problem: ProblemName
    columns: Columns = Field(min_length=1)

    @model_validator(mode="after")
    def _are_its_columns(self) -> Self:
        if len({column.name for column in self.columns}) < len(self.columns):
            raise ValueError("a column appears twice")
        if self.problem == TEXT_CLASSIFICATION and self.columns != TEXT_COLUMNS:
            raise ValueError("one text has no list of columns")
        if wrong := {column.kind for column in self.columns} - named(self.problem).table.kinds:
            raise ValueError(f"a column is {min(wrong)}, which {self.problem} does not read")
        return self


def columns_of(path: Path, label: str) -> _Columns:
    """What a file says of a model and its columns.

    Raises:
        IntegrityError: It is damaged.
    """
    try:
        if path.stat().st_size > MOST_DESCRIPTION:
            raise ValueError(f"it has more than {MOST_DESCRIPTION:,} bytes")
        return _Columns.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{label}: its {path.name} cannot be read: {said(error)}.", DO_NOT_USE) from None


@cached(LRUCache(maxsize=2), key=lambda _, ref: (ref.artifact_sha256, ref.trusted_modules), lock=Lock())
def _text(artifacts: Path, ref: ModelRef) -> Any:
    """Read a model; champion and challenger are kept, since one flow run asks for each of them more than once."""
    from lifecycle.problems.text_classification import model

    pipeline = read_pipeline(artifacts / "pipeline.skops", ref, model.read)
    require_answers(pipeline, ref, "predict_proba", "classes_")
    return model.TextModel(pipeline)


@cached(LRUCache(maxsize=2), key=lambda _, ref: (ref.artifact_sha256, ref.trusted_modules), lock=Lock())
def _of_columns(artifacts: Path, ref: ModelRef) -> Any:
    from lifecycle.problems.text_classification.model import read

    told = columns_of(artifacts / "columns.json", ref.label)
    if told.problem == TEXT_CLASSIFICATION:
        raise IntegrityError(f"{ref.label}: one text has no list of columns.", DO_NOT_USE)
    problem, pipeline = named(told.problem), read_pipeline(artifacts / "pipeline.skops", ref, read)
    is_classifier = problem.model_type == "classifier"
    require_answers(pipeline, ref, *(("predict_proba", "classes_") if is_classifier else ("predict",)))
    return problem.model(pipeline, [(column.name, column.kind) for column in told.columns], told.problem)


@cached(LRUCache(maxsize=2), key=lambda _, ref: (ref.artifact_sha256, ref.trusted_modules), lock=Lock())
def _with_encoder(artifacts: Path, ref: ModelRef) -> Any:
    """Texts behind a frozen encoder; its network comes as one file, so that it can name no other one to be read."""
    from lifecycle.problems.text_pair_classification.model import Encoder, PairModel, read

    told = columns_of(artifacts / "columns.json", ref.label)
    pipeline = read_pipeline(artifacts / "pipeline.skops", ref, read)
    require_answers(pipeline, ref, "predict_proba", "classes_")
    try:
        tokenizer = (artifacts / "tokenizer.json").read_text(encoding="utf-8")
        encoder = Encoder((artifacts / "model.onnx").read_bytes(), tokenizer)
    except ImportError:
        raise ConfigError(f"{ref.label} needs onnxruntime and tokenizers.", ENCODER_MISSING) from None
    except Exception as error:  # both libraries raise kinds of their own
        raise IntegrityError(f"{ref.label}: its encoder cannot be read: {said(error)}.", DO_NOT_USE) from None
    return PairModel(pipeline, [(column.name, column.kind) for column in told.columns], told.problem, encoder)


def _pickled(artifacts: Path, ref: ModelRef) -> Any:
    if not ref.allow_pickle:
        fix = "If you trust it, set allow_pickle in the environment's settings (MLOPS_ALLOW_PICKLE=true)."
        raise IntegrityError(f"{ref.label} is a pickle: to load it is to run the code in it.", fix)
    import joblib  # type: ignore[import-untyped]

    from lifecycle.problems.text_classification import model as text_model

    try:
        return text_model.TextModel(joblib.load(artifacts / "pipeline.pkl"))
    except Exception as error:  # unpickling raises whatever the code in it raises
        what = f"{ref.label}: its pickle cannot be read here: {type(error).__name__}: {error!s:.200}."
        raise IntegrityError(what, "Install the packages that it was registered with.") from None


def _vader(artifacts: Path, ref: ModelRef) -> Any:
    from lifecycle.models.external import vader

    lexicon, emoji = (str(artifacts / name) for name in VADER_FILES)
    try:
        return vader.VaderModel(vader.analyser(lexicon, emoji))
    except ImportError:
        raise ConfigError(f"{ref.label} needs vaderSentiment.", VADER_MISSING) from None
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{ref.label}: its lexicon cannot be read: {error}.") from None


@cached(LRUCache(maxsize=2), key=lambda _, ref: ref.artifact_sha256, lock=Lock())
def chain(artifacts: Path, ref: ModelRef) -> Any:
    """Read an index of documents and what answers from it."""
    from lifecycle.problems.chat.model import ChatModel

    try:
        return ChatModel.of(artifacts / "chain")
    except ImportError as error:
        fix = "Install it: pip install 'mlops-lifecycle[chat]'"
        raise ConfigError(f"{ref.label} needs the package {error.name}.", fix) from None
    except Exception as error:  # what reads its files raises whatever it runs into
        raise IntegrityError(f"{ref.label}: its chain cannot be read: {said(error)}.", DO_NOT_USE) from None


@cached(LRUCache(maxsize=2), key=lambda _, ref: ref.artifact_sha256, lock=Lock())
def _network(artifacts: Path, ref: ModelRef) -> Any:
    """Read a network: safetensors or ONNX, its configuration and its tokenizer, and not one file more."""
    from lifecycle.problems.transformer import files, model

    folder = artifacts / "transformer"
    if {path.name for path in folder.rglob("*")} not in files.FORMS:
        held = ", ".join(sorted(path.name for path in folder.rglob("*"))[:9])
        raise IntegrityError(f"{ref.label}: its network consists of {held}, which is no form of ours.", DO_NOT_USE)
    try:
        encoder = model.Encoder.of(folder)
    except ImportError as error:
        extra = "embeddings" if (folder / model.GRAPH).is_file() else "transformers"
        fix = f"Install it: pip install 'mlops-lifecycle[{extra}]'"
        raise ConfigError(f"{ref.label} needs the package {error.name}.", fix) from None
    except Exception as error:  # the libraries raise whatever damaged files make them run into
        raise IntegrityError(f"{ref.label}: its network cannot be read: {said(error)}.", DO_NOT_USE) from None
    told = columns_of(artifacts / "columns.json", ref.label) if (artifacts / "columns.json").is_file() else None
    if told is None:
        return model.TransformerModel(encoder)
    return model.TransformerModel(encoder, [(column.name, column.kind) for column in told.columns], told.problem)


@cached(
    LRUCache(maxsize=2),
    key=lambda _, ref: (ref.artifact_sha256, ref.allow_pickle, ref.trusted_modules, ref.trusted_models),
    lock=Lock(),
)
def _external(artifacts: Path, ref: ModelRef) -> Any:
    """A model of another flavour of MLflow's: data alone, or code that the environment trusts by its digest."""
    from lifecycle.models.external import opened

    path = artifacts / "columns.json"
    told = columns_of(path, ref.label) if path.is_file() else None
    columns = None if told is None else [(column.name, column.kind) for column in told.columns]
    return opened.opened(artifacts, ref, columns, TEXT_CLASSIFICATION if told is None else told.problem)


FORMS: dict[tuple[str, ...], Callable[[Path, ModelRef], Any]] = {
    ("pipeline.skops",): _text,
    ("columns.json", "pipeline.skops"): _of_columns,
    ("columns.json", "model.onnx", "pipeline.skops", "tokenizer.json"): _with_encoder,
    ("pipeline.pkl",): _pickled,
    tuple(sorted(VADER_FILES)): _vader,
    ("chain",): chain,
    ("transformer",): _network,
    ("columns.json", "transformer"): _network,
    ("external", "external.json"): _external,
    ("columns.json", "external", "external.json"): _external,
}
"""What the artifacts of a model may be, all their names, to what reads them."""
