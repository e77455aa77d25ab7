"""The contract of every fine-tuned network: the raw texts in, `label, score` out, same rows, same order.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project: plain
`mlflow.pyfunc.load_model` runs it anywhere. Weights are safetensors or ONNX, and nothing is unpickled. Whoever reads an
ONNX file needs neither torch nor transformers.

A row is always computed among `ROWS` rows of its own length, filled up where there are fewer: what a processor adds up
depends on the shape of a batch, so that of any other batch the last bits of a score would differ.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

ROWS, ROWS_OF_A_GPU, STEP = 8, 64, 8
"""Rows of a batch; lengths are rounded up to a whole number of steps."""
WEIGHTS, GRAPH = "model.safetensors", "model.onnx"
TOKENIZER, CONFIG, READING = "tokenizer.json", "config.json", "reading.json"
"""Files of a model; the last one says how its texts are cut off and which arrays it is given."""

Rows = Sequence[tuple[str, ...]]
Arrays = dict[str, Any]
Columns = Sequence[tuple[str, str]]
"""The inputs of a model, in their order: the name and the kind of each."""


class Reader:
    """Texts as numbers of tokens: one text, or two in their order, cut off where they are longer than the network."""

    def __init__(self, tokenizer: Any, max_length: int, arrays: Sequence[str], pad: int) -> None:
        self.tokenizer, self.max_length, self.arrays, self.pad = tokenizer, max_length, tuple(arrays), pad
        tokenizer.enable_truncation(max_length)
        tokenizer.no_padding()

    @classmethod
    def of(cls, folder: Path) -> "Reader":
        """Read how a stored model reads."""
        from tokenizers import Tokenizer

        told = json.loads((folder / READING).read_text(encoding="utf-8"))
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        return cls(tokenizer, int(told["max_length"]), told["arrays"], int(told["pad"]))

    def read(self, rows: Rows) -> list[Any]:
        """The tokens of rows; a pair is one row of both texts."""
        return list(self.tokenizer.encode_batch([row[0] if len(row) == 1 else row for row in rows]))

    def rounded(self, length: int) -> int:
        """The length of the batch in which a row of so many tokens is computed."""
        return min(-(-length // STEP) * STEP, self.max_length)

    def batch(self, read: Sequence[Any], rows: int, length: int) -> Arrays:
        """Tokens as arrays of that shape."""
        filled = {
            "input_ids": np.full((rows, length), self.pad, dtype=np.int64),
            "attention_mask": np.zeros((rows, length), dtype=np.int64),
            "token_type_ids": np.zeros((rows, length), dtype=np.int64),
        }
        for place, tokens in enumerate(read):
            count = len(tokens.ids)
            filled["input_ids"][place, :count] = tokens.ids
            filled["attention_mask"][place, :count] = 1
            filled["token_type_ids"][place, :count] = tokens.type_ids
        filled["attention_mask"][len(read) :, 0] = 1  # over no token at all nothing can be averaged
        return {name: filled[name] for name in self.arrays}


class Encoder:
    """A fitted network: what reads, what computes, and the names of its classes in their order.

    `forward` takes arrays of a batch and gives a number for each row and class.
    """

    def __init__(
        self, reader: Reader, forward: Callable[[Arrays], Any], classes: Sequence[str], rows: int = ROWS
    ) -> None:
        self.reader, self.forward, self.rows = reader, forward, rows
        self.classes_ = np.asarray(list(classes), dtype=object)

    @classmethod
    def of(cls, folder: Path) -> "Encoder":
        """Read a stored model, on a GPU where torch finds one."""
        names = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["id2label"]
        classes = [names[str(place)] for place in range(len(names))]
        reader = Reader.of(folder)
        if (folder / GRAPH).is_file():
            return cls(reader, forward_of_graph(folder / GRAPH), classes)
        network, device = read_network(folder)
        return cls(reader, forward_of(network), classes, ROWS if device == "cpu" else ROWS_OF_A_GPU)

    def predict_proba(self, rows: Rows) -> Any:
        """One row of probabilities for each row, in the order of the classes."""
        numbers = self.logits(rows).astype("float64")
        raised = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def logits(self, rows: Rows) -> Any:
        """What the network says of each row, the shortest first, in the order of the rows."""
        read = self.reader.read(rows)
        told = np.zeros((len(read), len(self.classes_)), dtype=np.float32)
        for places, length in self._batches(read):
            arrays = self.reader.batch([read[place] for place in places], self.rows, length)
            told[places] = self.forward(arrays)[: len(places)]
        return told

    def _batches(self, read: Sequence[Any]) -> Iterator[tuple[list[int], int]]:
        alike: dict[int, list[int]] = {}
        for place, tokens in enumerate(read):
            alike.setdefault(self.reader.rounded(len(tokens.ids)), []).append(place)
        for length, places in sorted(alike.items()):
            yield from ((places[start : start + self.rows], length) for start in range(0, len(places), self.rows))


def read_network(folder: Path) -> tuple[Any, str]:
    """A stored network, ready to be asked, and where it is."""
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    )
    return network.to(device).eval(), device


def forward_of(network: Any) -> Callable[[Arrays], Any]:
    """A network of torch as a function of arrays."""
    import torch

    def forward(arrays: Arrays) -> Any:
        with torch.inference_mode():
            given = {name: torch.from_numpy(array).to(network.device) for name, array in arrays.items()}
            return network(**given).logits.float().cpu().numpy()

    return forward


def forward_of_graph(path: Path) -> Callable[[Arrays], Any]:
    """A network of ONNX as a function of arrays."""
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(arrays: Arrays) -> Any:
        return session.run(["logits"], arrays)[0]

    return forward


class TransformerModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A fitted network, and the names of the columns that it reads, in their order.

    It also answers as the reference's `RegisterBERTModel` does: for one text or a list of them, a list of labels.
    """

    def __init__(
        self,
        pipeline: Any = None,
        columns: Columns = (("text", "text"),),
        problem: str = "text-classification",
    ) -> None:
        self.pipeline, self.columns, self.problem = pipeline, columns, problem

    def load_context(self, context: Any) -> None:
        """Load network and tokenizer, and the names of the columns where it is not one text."""
        if "columns" in context.artifacts:
            described = json.loads(Path(context.artifacts["columns"]).read_text(encoding="utf-8"))
            self.problem = described["problem"]
            self.columns = [(column["name"], column["kind"]) for column in described["columns"]]
        self.pipeline = Encoder.of(Path(context.artifacts["transformer"]))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model reads; further ones are ignored."""
        return tuple(name for name, _ in self.columns)

    def rows(self, frame: pd.DataFrame) -> list[tuple[str, ...]]:
        """The texts of each row, in the order in which the model reads them.

        Raises:
            ValueError: A column is missing, appears twice, or holds what is no text.
        """
        return list(zip(*(_texts(frame, name, self.inputs) for name in self.inputs), strict=True))

    def probabilities(self, frame: pd.DataFrame) -> Any:
        """One row of probabilities for each row, in the order of the classes."""
        return self.pipeline.predict_proba(self.rows(frame))

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Label each row with its most probable class (ties: the first) and that probability; texts with a label."""
        if (params or {}).get("probabilities"):
            return self.probabilities(model_input)
        if isinstance(model_input, str):
            model_input = [model_input]
        if not isinstance(model_input, pd.DataFrame):
            told = self.predict(None, pd.DataFrame({self.inputs[0]: list(model_input)}, dtype=object))
            return told["label"].tolist()
        if model_input.empty:
            return pd.DataFrame({"label": pd.Series(dtype="str"), "score": pd.Series(dtype="float64")})
        return self.labelled(self.probabilities(model_input))

    def labelled(self, probabilities: Any) -> pd.DataFrame:
        """The most probable class of each row of probabilities, and how probable it is."""
        labels = np.asarray(self.pipeline.classes_)[probabilities.argmax(axis=1)].astype(str)
        return pd.DataFrame({"label": labels, "score": probabilities.max(axis=1)})


def _texts(frame: pd.DataFrame, name: str, names: Sequence[str]) -> list[str]:
    """The cells of one column, of which there must be exactly one: a text that is lost would go unnoticed."""
    count = list(frame.columns).count(name)
    if count != 1:
        what = "is missing" if count == 0 else "appears twice"
        raise ValueError(f"the column {name!r} {what}; the model reads {', '.join(names)}")
    cells = frame[name].tolist()
    if wrong := [cell for cell in cells if not isinstance(cell, str)]:
        raise ValueError(f"the column {name!r} holds {wrong[0]!r:.60}, which is no text")
    return cells


RegisterBERTModel = TransformerModel
"""What the reference's utilities call it."""
set_model(TransformerModel())
