"""A tiny encoder, made on the spot: each word has a made-up vector, and a text the mean of those of its words."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.pairs import DOES, WHAT, WHERE, WHO

WORDS = sorted({word.lower() for text in (*WHO, *DOES, *WHAT, *WHERE) for word in text.split()} | {"is", "not"})


def write_encoder(folder: Path, *, quantised: bool = False) -> Path:
    """A folder with `model.onnx` and `tokenizer.json`; a quantised one scales by the largest value of a batch."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(0).normal(size=(len(WORDS) + 1, 16)).astype("float32")
    table = numpy_helper.from_array(weights * np.linspace(0.2, 3, len(weights), dtype="float32")[:, None], "table")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["plain" if quantised else "last_hidden_state"])]
    if quantised:
        nodes.append(helper.make_node("DynamicQuantizeLinear", ["plain"], ["q", "scale", "zero"]))
        nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["last_hidden_state"]))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", 16])
    graph = helper.make_graph(nodes, "tiny", [ids], [out], [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    vocabulary = {"[UNK]": 0} | {word: place for place, word in enumerate(WORDS, 1)}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder
