"""An MLflow model of any flavour as a folder: what loading it would run, and whether that is trusted here.

`code_in`          why to load it is to run code that came with it; empty if it is data alone
`require_trusted`  refuses code, and types of skops, that the settings of the environment do not trust
`loaded`           the model, from a copy that lives as long as it does
"""

import json
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np

from lifecycle.core import own_code
from lifecycle.core.errors import IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.core.refusals import sentence
from lifecycle.models import own, pipelines
from lifecycle.storage.files import tree_digest

CODE = "code"
Within = Callable[[], AbstractContextManager[Any]]
MOST_OF_A_FILE = 5_000_000
"""Bytes of a file that is read to see whether it names code."""
NAMES_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
"""What a configuration of transformers says where code of its author's belongs to it; MLflow would run that."""
PLAIN = frozenset({"", ".json", ".md", ".model", ".safetensors", ".txt", ".vocab", ".yaml", ".yml"})
"""How the files of a network that hold no code may end."""


def code_in(folder: Path, flavours: Mapping[str, Any]) -> str:
    """Why to load a model is to run code that came with it, in words; empty if its files are data that others read.

    What is not known to be data counts as code.
    """
    function = flavours.get("python_function")
    if not isinstance(function, dict):
        return "it has no flavour python_function"
    loader = str(function.get("loader_module"))
    if function.get("code") or (folder / CODE).exists():
        return f"it brings modules in its folder {CODE}"
    data = DATA.get(loader)
    if data is None:
        return f"{loader} loads it"
    return data(folder, flavours)


def _of_sklearn(folder: Path, flavours: Mapping[str, Any]) -> str:
    form = (flavours.get("sklearn") or {}).get("serialization_format") or "pickle"
    if form != "skops":
        return f"its pipeline is stored with {form}"
    return "" if skops_file(folder, flavours) else "its pipeline.skops is not in it"


def _of_onnx(folder: Path, flavours: Mapping[str, Any]) -> str:
    options = (flavours.get("onnx") or {}).get("onnx_session_options") or {}
    if not isinstance(options, dict) or options.get("extra_session_config"):
        return "it sets options of the session that may load code"
    return "" if _inside(folder, flavours["python_function"].get("data")) else "its graph is not in it"


def _of_transformers(folder: Path, flavours: Mapping[str, Any]) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    if strange := [path.name for path in files if path.suffix not in PLAIN]:
        return f"it holds {min(strange)}"
    named = flavours.get("transformers") or {}
    if not _inside(folder, named.get("model_binary")) or not any(path.suffix == ".safetensors" for path in files):
        return "its weights are not in it"
    if absent := [part for part in named.get("components") or () if not (folder / "components" / str(part)).is_dir()]:
        return f"its {absent[0]} is not in it"
    for path in files:
        if path.suffix == ".json" and path.stat().st_size <= MOST_OF_A_FILE and _names_code(path):
            return f"{path.name} names code of its author's"
    return ""


def _names_code(path: Path) -> bool:
    try:
        told = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(told, dict) and not told.keys().isdisjoint(NAMES_CODE)


DATA: dict[str, Callable[[Path, Mapping[str, Any]], str]] = {
    "mlflow.sklearn": _of_sklearn,
    "mlflow.onnx": _of_onnx,
    "mlflow.transformers": _of_transformers,
}
"""By what MLflow loads them with: of models that may be data alone, why one is not."""


def _inside(folder: Path, name: Any) -> bool:
    """Whether a name is that of something within a folder."""
    if not isinstance(name, str) or not name:
        return False
    path = (folder / name).resolve()
    return path.exists() and path.is_relative_to(folder.resolve())


def skops_file(folder: Path, flavours: Mapping[str, Any]) -> Path | None:
    """The file of a scikit-learn model that is stored with skops; None if it is another model."""
    function, told = flavours.get("python_function") or {}, flavours.get("sklearn") or {}
    name = function.get("model_path")
    if function.get("loader_module") != "mlflow.sklearn" or told.get("serialization_format") != "skops":
        return None
    return folder / str(name) if _inside(folder, name) else None


def require_trusted(folder: Path, flavours: Mapping[str, Any], trust: ModelRef, label: str) -> None:
    """Refuse a model whose code may not run here, by what a reference says of this environment.

    Raises:
        IntegrityError: The settings trust neither its digest nor, of skops, all types in it.
    """
    why, digest = code_in(folder, flavours), tree_digest(folder)
    if why and not trust.allow_pickle and digest not in trust.trusted_models:
        what = f"{label}: to load it is to run code that came with it ({why}), which is not trusted here."
        setting = f"trusted_models: [{digest}] in config/<env>.yaml, or MLOPS_TRUSTED_MODELS='[\"{digest}\"]'"
        raise IntegrityError(what, f"If you trust whoever made it, name its digest in the settings: {setting}")
    path = None if why else skops_file(folder, flavours)
    if path is None:
        return
    try:
        types = pipelines.untrusted_types(path)
    except ValueError as error:
        raise IntegrityError(f"{label}: {path.name} cannot be read: {error}.", pipelines.DO_NOT_USE) from None
    known = own.trusted(types, {}, trust.trusted_modules)
    if foreign := [kind for kind in types if kind not in known]:
        what = f"{label}: holds types that are not trusted: {', '.join(foreign[:5])}."
        raise IntegrityError(what, pipelines.TRUST)


def loaded(folder: Path, flavours: Mapping[str, Any], label: str) -> tuple[Any, Within]:
    """A trusted model as MLflow loads it, and in what its own modules can be imported.

    It may read its files whenever it is asked, so a copy of them lives as long as it does.

    Raises:
        IntegrityError: It cannot be loaded.
    """
    kept = Path(tempfile.mkdtemp(prefix="mlops-external-"))
    try:
        copy = Path(shutil.copytree(folder, kept / folder.name))
        code = own_code.carried(copy / CODE)
        within: Within = partial(_importing, code) if code else nullcontext
        with within():
            model = mlflow.pyfunc.load_model(str(copy))
    except Exception as error:  # it may raise anything
        shutil.rmtree(kept, ignore_errors=True)
        what = f"{label}: it cannot be loaded here: {sentence(error)}"
        fix = "Install what it needs (its requirements.txt), or have its maker repair it."
        raise IntegrityError(what, fix) from None
    weakref.finalize(model, shutil.rmtree, kept, ignore_errors=True)
    if skops_file(folder, flavours) and pipelines.opens_files(_raw(model)):
        raise IntegrityError(f"{label}: it takes texts for the names of files.", pipelines.DO_NOT_USE)
    return model, within


@contextmanager
def _importing(code: own_code.Sources) -> Iterator[None]:
    """Within, modules that came with a model are imported from it; MLflow's entry on the path goes again."""
    before = list(sys.path)
    with own_code.importing(code):
        try:
            yield
        finally:
            sys.path[:] = before


def _raw(model: Any) -> Any:
    """What the wrapper of a flavour holds, such as a scikit-learn pipeline; None if it shows nothing."""
    try:
        return model.get_raw_model()
    except Exception:  # MLflow raises where a flavour has none
        return None


def fitted_classes(model: Any, flavours: Mapping[str, Any]) -> tuple[Any, ...]:
    """The classes of an estimator that tells their probabilities; none of any other model."""
    fitted = _raw(model)
    if str(flavours["python_function"].get("loader_module")).startswith("mlflow.pyfunc"):
        return ()
    named = np.asarray(getattr(fitted, "classes_", ()) if hasattr(fitted, "predict_proba") else ())
    return tuple(named.tolist()) if named.ndim == 1 else ()


def names_of_features(model: Any) -> tuple[str, ...]:
    """The columns that an estimator was fitted on, if it remembers them."""
    return tuple(map(str, getattr(_raw(model), "feature_names_in_", ())))


def width_without_names(model: Any) -> int:
    """How many columns an estimator was fitted on of which it remembers no name; 0 if that is not known of it."""
    return 0 if names_of_features(model) else int(getattr(_raw(model), "n_features_in_", 0) or 0)
