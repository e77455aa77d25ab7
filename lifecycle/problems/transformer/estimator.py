"""The algorithm `transformer`: its parameters, each checked before anything is written, and how it is fitted."""

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Integral, Interval, StrOptions

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.problems import fitting
from lifecycle.problems.contract import Estimator
from lifecycle.problems.learning import Beside
from lifecycle.problems.transformer.base import begun, from_hub

if TYPE_CHECKING:
    import pandas as pd

    from lifecycle.problems.transformer.model import Encoder

BASE = "base"
MISSING = "Install it: pip install 'mlops-lifecycle[transformers]'"
PACKAGES = ("mlflow", "numpy", "pandas", "safetensors", "tokenizers", "torch", "transformers")
PACKAGES_OF_A_GRAPH = ("mlflow", "numpy", "onnxruntime", "pandas", "tokenizers")
"""What a stored model needs where it is loaded: a graph needs no torch."""
LONGEST = 8192


class Transformer(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Fine-tunes a pretrained network to tell classes; it reads the texts themselves.

    Args:
        base: What it begins with: a folder, `models:/…` or `runs:/…` of MLflow, or a name of the hub.
        base_sha256: What that must digest to; planning a training fills it in.
        allow_download: Whether a name of the hub may be fetched; else it must be on this machine already.
        max_length: Tokens of a row, both texts together; what is longer is cut off.
        batch_size: Rows of a step.
        epochs: How often each row is seen, at most; 0 takes the weights as they are.
        learning_rate: At its highest.
        warmup: Share of the steps in which it rises to that; then it falls to 0.
        weight_decay: Of all weights but biases and norms.
        max_grad_norm: Longer gradients are cut to this.
        class_weight: `balanced` weighs rare classes more.
        patience: Epochs without a lower loss on the test split after which it ends, with the best ones' weights; None
            goes through all epochs and keeps the last.
        precision: `bfloat16` computes in half the bits; `auto` does on a GPU that can.
        device: `auto` takes a GPU where there is one.
        runtime: What a stored model is computed with: `torch`, or `onnx`, which needs no torch.
        quantize: `int8` rounds the weights of an ONNX model to a quarter of their size.
        random_state: The seed.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "base": [str, None],
        "base_sha256": [str, None],
        "allow_download": ["boolean"],
        "max_length": [Interval(Integral, 8, LONGEST, closed="both")],
        "batch_size": [Interval(Integral, 1, 4096, closed="both")],
        "epochs": [Interval(Integral, 0, 1000, closed="both")],
        "learning_rate": [Interval(Real, 0, 1, closed="neither")],
        "warmup": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, 1, closed="both")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [StrOptions({"balanced"}), None],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "device": [StrOptions({"auto", "cpu", "cuda"})],
        "runtime": [StrOptions({"torch", "onnx"})],
        "quantize": [StrOptions({"int8"}), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        base: str | None = None,
        base_sha256: str | None = None,
        allow_download: bool = False,
        max_length: int = 128,
        batch_size: int = 16,
        epochs: int = 3,
        learning_rate: float = 5e-5,
        warmup: float = 0.1,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        class_weight: str | None = None,
        patience: int | None = 1,
        precision: str = "auto",
        device: str = "auto",
        runtime: str = "torch",
        quantize: str | None = None,
        random_state: int | None = None,
    ) -> None:
        for name, value in locals().items():
            if name != "self":
                setattr(self, name, value)

    def require(self) -> "Transformer":
        """Refuse parameters that do not go together, or ask for what is not installed; returns itself.

        Raises:
            ConfigError: They do.
        """
        if not self.base:
            what = "transformer: `base` is missing, the pretrained model that it begins with."
            raise ConfigError(what, "Name a folder, models:/… or runs:/…: --params \"{'base': 'models/bert'}\"")
        if self.quantize and self.runtime != "onnx":
            what = f"transformer: quantize={self.quantize} is of models that ONNX Runtime computes."
            raise ConfigError(what, "Add: 'runtime': 'onnx'")
        require_installed()
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("transformer: device=cuda, and torch finds no GPU here.", "Leave device out.")
        if self.runtime == "onnx":
            try:
                import onnx  # noqa: F401
                import onnxruntime  # type: ignore[import-untyped]  # noqa: F401
            except ImportError as error:
                raise ConfigError(f"runtime=onnx needs the package {error.name}.", MISSING) from None
        return self

    def fit(self, inputs: "pd.DataFrame", target: Sequence[Any], beside: Beside) -> "Transformer":
        """Fine-tune on rows of one text or two.

        Raises:
            ConfigError: The base cannot be begun with, or parameters do not fit it.
            DataError: There is one class alone.
        """
        from lifecycle.problems.transformer import finetuning

        classes = sorted({str(label) for label in target})
        if len(classes) < 2:
            raise DataError(f"transformer: all {len(inputs):,} rows are of one class.", "Look: mlops data show")
        with refused_by_the_library("transformer: ", ConfigError, fitting.CORRECT):
            start = begun(self, beside.base, classes)
            self.network_, self.reader_ = finetuning.finetuned(self, start, (inputs, target), beside)
        self.classes_ = np.asarray(start.classes, dtype=object)
        return self

    def encoder(self) -> "Encoder":
        """The fitted network as it answers."""
        from lifecycle.problems.transformer.model import ROWS, ROWS_OF_A_GPU, Encoder, forward_of

        rows = ROWS if self.network_.device.type == "cpu" else ROWS_OF_A_GPU
        return Encoder(self.reader_, forward_of(self.network_.eval()), [*self.classes_], rows)


def require_installed() -> None:
    """Refuse to go on without the extra.

    Raises:
        ConfigError: A package is missing.
    """
    try:
        import tokenizers  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"A fine-tuned network needs the package {error.name}.", MISSING) from None


TRANSFORMER = Estimator(
    Transformer,
    base=BASE,
    reads=(BASE,),
    fetched=from_hub,
    packages=("safetensors", "tokenizers", "torch", "transformers"),
    sources=tuple(
        f"problems/transformer/{name}.py" for name in ("base", "estimator", "files", "finetuning", "learning", "model")
    ),
)
