"""Load a registered model without trusting it: a private copy, its digest, its form, then its types.

MLflow keeps no checksum, a swapped pickle runs its payload on load, and a model's own list of trusted types is written
by whoever wrote the model. So the digest recorded at registration is checked before anything is deserialised, no code
of the model's is run, only files that our own classes read are accepted, and skops gets our list. A pickle, which is
code, is read only where the environment's settings allow it; code of a team's own is run from the verified copy, and
only if its module is one of those that the settings trust.
"""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self
from zipfile import ZipFile

import yaml
from cachetools import LRUCache, cached
from pydantic import Field, model_validator

from lifecycle.core import own_code
from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import TEXT_CLASSIFICATION, ProblemName
from lifecycle.core.references import ModelRef, options_of
from lifecycle.models import examples, own
from lifecycle.problems.contract import TEXT_COLUMNS, Columns
from lifecycle.problems.known import PROBLEMS, named
from lifecycle.storage.files import tree_digest
from lifecycle.tracking.client import download

if TYPE_CHECKING:
    from mlflow.models import Model

NOT_CONTENT = frozenset({"registered_model_meta", examples.RECORD})
"""Files beside a model: what MLflow writes when it is registered or downloaded, and the record of an erasure."""

COMPILED = "__pycache__/*.pyc"
LOADER = "mlflow.pyfunc.loaders.code_model"
MOST_DESCRIPTION = 1_000_000
MOST_EXPANDED, MOST_FOLD = 64 * 2**20, 300
"""A file that unpacks to more than both allow, bytes and times its size, is made to fill the memory."""
TRUST = "If the code that it brings may run here, name its modules in the environment's settings: trusted_modules."
DO_NOT_USE = "Do not use this model; roll back or train again."

VADER_FILES = ("vader_lexicon.txt", "emoji_utf8_lexicon.txt")
ENCODER_MISSING = "Install them: pip install 'mlops-lifecycle[embeddings]'"
VADER_MISSING = "Install it: pip install 'mlops-lifecycle[vader]'"


@contextmanager
def private_copy(ref: ModelRef) -> Iterator[Path]:
    """Download a model into a folder of its own and verify its digest there.

    Raises:
        IntegrityError: The files are missing, or are not those that were registered.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        folder = download(ref.tracking_uri, ref.uri, Path(temporary), ref.registry_uri)
        for path in folder.rglob(COMPILED):
            path.unlink()  # nobody has verified it, so it goes no further
        if not any(folder.rglob("*")):
            raise IntegrityError(f"{ref.label}: its artifacts are missing.", "Roll back or train again.")
        if not ref.artifact_sha256:
            what = f"{ref.label}: it was registered past this command and has no digest."
            again = f"mlops model register --source {ref.uri} {options_of(ref.name or '')}"
            raise IntegrityError(what, f"Register what it holds as a candidate: {again}")
        found = artifact_digest(folder)
        if found != ref.artifact_sha256:
            what = f"{ref.label}: the files digest to {found}, registered was {ref.artifact_sha256}."
            raise IntegrityError(what, DO_NOT_USE)
        yield folder


def verify(ref: ModelRef) -> None:
    """Check that a model's files are there and are those that were registered."""
    with private_copy(ref):
        pass


def load(ref: ModelRef) -> Any:
    """Load a model after all checks; it answers `predict(None, DataFrame)` with what its problem predicts.

    It has `problem`, and `inputs`: the columns that it reads.
    """
    with private_copy(ref) as folder:
        return load_verified(folder, ref)


def artifact_digest(folder: Path) -> str:
    """The tree digest of a model folder; an example that was erased counts as what it was.

    What Python has compiled does not count: plain MLflow loads a model from where it is stored on this machine, and
    leaves that beside its code.
    """
    compiled = {path.relative_to(folder).as_posix() for path in folder.rglob(COMPILED)}
    return tree_digest(folder, NOT_CONTENT | compiled, examples.replaced(folder))


def trusted_types() -> list[str]:
    """Our list of what a model may be made of beyond skops' own: what the tables of algorithms name."""
    tables = (problem.learning.estimators for problem in PROBLEMS.values())
    return sorted({name for table in tables for entry in table.values() for name in entry.trusted_types})


def packages() -> list[str]:
    """What the models of some algorithms depend on beyond what all do."""
    tables = (problem.learning.estimators for problem in PROBLEMS.values())
    return sorted({name for table in tables for entry in table.values() for name in entry.packages})


def untrusted_types(path: Path) -> list[str]:
    """The types in a skops file that are neither on skops' list nor on ours.

    Raises:
        ValueError: It is not a skops file.
    """
    import skops.io

    try:
        _require_sound(path)
        return sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted_types()))
    except Exception as error:  # skops and what it reads with raise whatever the file makes them run into
        raise ValueError(_said(error)) from None


def _require_sound(path: Path) -> None:
    """Refuse an archive, or one in it, that unpacks to far more than it is.

    Raises:
        ValueError: It is one.
    """
    with ZipFile(path) as archive:
        _require_size(archive, path.stat().st_size)
        for member in archive.infolist():
            if member.filename.endswith(".npz"):
                with archive.open(member) as file, ZipFile(io.BytesIO(file.read())) as inner:
                    _require_size(inner, member.file_size)


def _require_size(archive: ZipFile, size: int) -> None:
    expanded = sum(member.file_size for member in archive.infolist())
    if expanded > max(MOST_EXPANDED, MOST_FOLD * size):
        raise ValueError(f"{size:,} bytes that unpack to {expanded:,}")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def load_verified(folder: Path, ref: ModelRef) -> Any:
    """Load a model folder whose digest was checked; only the forms of ours are accepted, and read by our classes."""
    return reader_of(folder, ref.label)(folder / "artifacts", ref)


def description(folder: Path, label: str) -> dict[str, Any]:
    """What a model's MLmodel file says; it is data from whoever has written it, and may be made to harm.

    Raises:
        IntegrityError: It is not there, or no such file of a sensible size.
    """
    path = folder / "MLmodel"
    try:
        if path.stat().st_size > MOST_DESCRIPTION:
            raise ValueError(f"it has more than {MOST_DESCRIPTION:,} bytes")
        found = yaml.load(path.read_text(encoding="utf-8"), _Plain)  # noqa: S506  a safe loader, and more than that
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except Exception as error:  # the parser raises whatever the text makes it run into
        raise IntegrityError(f"{label}: its MLmodel file cannot be read: {_said(error)}.", DO_NOT_USE) from None
    return found


def as_mlflow(folder: Path, label: str) -> "Model":
    """MLflow's own reading of a description: the signature, for those who check queries by it.

    Raises:
        IntegrityError: It cannot be read.
    """
    from mlflow.models import Model

    description(folder, label)
    try:
        return Model.load(str(folder))
    except Exception as error:
        raise IntegrityError(f"{label}: its MLmodel file cannot be read: {_said(error)}.", DO_NOT_USE) from None


class _Plain(yaml.SafeLoader):
    """YAML without merged mappings: nested, a few lines of them become more than fits into memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse what is to be merged."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "merged mappings are not read", node.start_mark)


def reader_of(folder: Path, label: str) -> Callable[[Path, ModelRef], Any]:
    """What reads a model folder, told by its form; nothing in it is deserialised.

    Raises:
        IntegrityError: It is no form of ours.
    """
    flavours = description(folder, label).get("flavors")
    function = flavours.get("python_function") if isinstance(flavours, dict) else None
    loader = function.get("loader_module") if isinstance(function, dict) else None
    if not isinstance(flavours, dict) or set(flavours) != {"python_function"} or loader != LOADER:
        there = sorted(map(str, flavours))[:5] if isinstance(flavours, dict) else "none"
        raise IntegrityError(f"{label}: not a model of ours (flavours {there}, loader {loader!r:.80}).")
    held = sorted(path.name for path in (folder / "artifacts").glob("*"))
    read = FORMS.get(tuple(held))
    if read is None:
        forms = "; ".join(", ".join(form) for form in FORMS)
        what = f"{label}: its files ({', '.join(held) or 'none'}) are no form of ours ({forms})."
        raise IntegrityError(what, DO_NOT_USE)
    return read


def problem_and_inputs(folder: Path, label: str) -> tuple[ProblemName, tuple[str, ...]]:
    """What a model folder is a model of, and the columns that it reads, without reading its pipeline.

    Raises:
        IntegrityError: It is no form of ours, or its list of columns is damaged.
    """
    if reader_of(folder, label) is _chain:
        return "chat", tuple(column.name for column in TEXT_COLUMNS)
    if not (folder / "artifacts" / "columns.json").is_file():
        return TEXT_CLASSIFICATION, tuple(column.name for column in TEXT_COLUMNS)
    told = _columns(folder / "artifacts" / "columns.json", label)
    return told.problem, tuple(column.name for column in told.columns)


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


def _columns(path: Path, label: str) -> _Columns:
    try:
        if path.stat().st_size > MOST_DESCRIPTION:
            raise ValueError(f"it has more than {MOST_DESCRIPTION:,} bytes")
        return _Columns.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{label}: its {path.name} cannot be read: {_said(error)}.", DO_NOT_USE) from None


@cached(LRUCache(maxsize=2), key=lambda _, ref: (ref.artifact_sha256, ref.trusted_modules), lock=Lock())
def _text(artifacts: Path, ref: ModelRef) -> Any:
    """Read a model; champion and challenger are kept, since one flow run asks for each of them more than once."""
    from lifecycle.problems.text_classification import model

    pipeline = _pipeline(artifacts / "pipeline.skops", ref, model.read)
    _require_answers(pipeline, ref, "predict_proba", "classes_")
    return model.TextModel(pipeline)


@cached(LRUCache(maxsize=2), key=lambda _, ref: (ref.artifact_sha256, ref.trusted_modules), lock=Lock())
def _of_columns(artifacts: Path, ref: ModelRef) -> Any:
    from lifecycle.problems.text_classification.model import read

    told = _columns(artifacts / "columns.json", ref.label)
    if told.problem == TEXT_CLASSIFICATION:
        raise IntegrityError(f"{ref.label}: one text has no list of columns.", DO_NOT_USE)
    problem, pipeline = named(told.problem), _pipeline(artifacts / "pipeline.skops", ref, read)
    is_classifier = problem.model_type == "classifier"
    _require_answers(pipeline, ref, *(("predict_proba", "classes_") if is_classifier else ("predict",)))
    return problem.model(pipeline, [(column.name, column.kind) for column in told.columns], told.problem)


@cached(LRUCache(maxsize=2), key=lambda _, ref: (ref.artifact_sha256, ref.trusted_modules), lock=Lock())
def _with_encoder(artifacts: Path, ref: ModelRef) -> Any:
    """Texts behind a frozen encoder; its network comes as one file, so that it can name no other one to be read."""
    from lifecycle.problems.text_pair_classification.model import Encoder, PairModel, read

    told = _columns(artifacts / "columns.json", ref.label)
    pipeline = _pipeline(artifacts / "pipeline.skops", ref, read)
    _require_answers(pipeline, ref, "predict_proba", "classes_")
    try:
        tokenizer = (artifacts / "tokenizer.json").read_text(encoding="utf-8")
        encoder = Encoder((artifacts / "model.onnx").read_bytes(), tokenizer)
    except ImportError:
        raise ConfigError(f"{ref.label} needs onnxruntime and tokenizers.", ENCODER_MISSING) from None
    except Exception as error:  # both libraries raise kinds of their own
        raise IntegrityError(f"{ref.label}: its encoder cannot be read: {_said(error)}.", DO_NOT_USE) from None
    return PairModel(pipeline, [(column.name, column.kind) for column in told.columns], told.problem, encoder)


def _pipeline(path: Path, ref: ModelRef, read: Callable[[Path, Iterable[str]], Any]) -> Any:
    """What a skops file holds, if it is made of what we trust and opens no files."""
    from skops.io.exceptions import UntrustedTypesFoundException

    code = own.code_of(path.parents[1]) if ref.trusted_modules else {}
    try:
        _require_sound(path)
        # skops checks every type before it makes the first object; to ask for the types before reads the file twice
        types = own.trusted(untrusted_types(path), code, ref.trusted_modules) if ref.trusted_modules else []
        with own_code.importing(own.needed(code, types)):
            own.require_defined(types, code, ref.label)
            pipeline = read(path, [*trusted_types(), *types])
    except IntegrityError:
        raise
    except UntrustedTypesFoundException:
        shown = [kind for kind in untrusted_types(path) if kind not in types][:5]
        what = f"{ref.label}: holds types that are not trusted: {', '.join(shown)}."
        raise IntegrityError(what, TRUST if (path.parents[1] / own.CODE).is_dir() else "") from None
    except Exception as error:
        what = f"{ref.label}: {path.name} is not a pipeline stored with skops: {_said(error)}."
        raise IntegrityError(what, DO_NOT_USE) from None
    if _opens_files(pipeline):
        raise IntegrityError(f"{ref.label}: {path.name} takes texts for the names of files.", DO_NOT_USE)
    return pipeline


def _require_answers(pipeline: Any, ref: ModelRef, *names: str) -> None:
    if not all(hasattr(pipeline, name) for name in names):
        wanted = "classifier" if "classes_" in names else "regressor"
        what = f"{ref.label}: pipeline.skops holds a {type(pipeline).__name__}, no {wanted}."
        raise IntegrityError(what, DO_NOT_USE)


def _opens_files(pipeline: Any) -> bool:
    """Whether a step reads the files that its input names, as scikit-learn's vectorisers do when they are told to."""
    from lifecycle.problems.text_classification.model import parts

    steps = (part for part in parts(pipeline) if hasattr(part, "get_params"))
    return any(getattr(step, "input", "content") != "content" for step in steps)


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
def _chain(artifacts: Path, ref: ModelRef) -> Any:
    from lifecycle.problems.chat.model import ChatModel

    try:
        return ChatModel.of(artifacts / "chain")
    except ImportError as error:
        fix = "Install it: pip install 'mlops-lifecycle[chat]'"
        raise ConfigError(f"{ref.label} needs the package {error.name}.", fix) from None
    except Exception as error:  # what reads its files raises whatever it runs into
        raise IntegrityError(f"{ref.label}: its chain cannot be read: {_said(error)}.", DO_NOT_USE) from None
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
        raise IntegrityError(f"{ref.label}: its network cannot be read: {_said(error)}.", DO_NOT_USE) from None
    told = _columns(artifacts / "columns.json", ref.label) if (artifacts / "columns.json").is_file() else None
    if told is None:
        return model.TransformerModel(encoder)
    return model.TransformerModel(encoder, [(column.name, column.kind) for column in told.columns], told.problem)


FORMS: dict[tuple[str, ...], Callable[[Path, ModelRef], Any]] = {
    ("pipeline.skops",): _text,
    ("columns.json", "pipeline.skops"): _of_columns,
    ("columns.json", "model.onnx", "pipeline.skops", "tokenizer.json"): _with_encoder,
    ("pipeline.pkl",): _pickled,
    tuple(sorted(VADER_FILES)): _vader,
    ("chain",): _chain,
    ("transformer",): _network,
    ("columns.json", "transformer"): _network,
}
"""What the artifacts of a model may be, all their names, to what reads them."""
