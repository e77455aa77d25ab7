"""A fitted network as files: safetensors or ONNX, its tokenizer, the names of its classes; no pickle, no code."""

import json
import warnings
from pathlib import Path
from typing import Any

from lifecycle.core.errors import ConfigError
from lifecycle.problems.transformer.model import CONFIG, GRAPH, READING, TOKENIZER, WEIGHTS, Reader

OPSET = 17
PLAIN, COMPILED = frozenset({CONFIG, READING, TOKENIZER, WEIGHTS}), frozenset({CONFIG, READING, TOKENIZER, GRAPH})
FORMS = (PLAIN, COMPILED)
"""What a stored model may consist of, all its files."""


def write(network: Any, reader: Reader, folder: Path, runtime: str = "torch", quantize: str | None = None) -> None:
    """Write a network, the names of its classes in its config, and how its texts are read."""
    folder.mkdir(parents=True)
    network = network.cpu().eval()
    network.config.save_pretrained(folder)
    reader.tokenizer.save(str(folder / TOKENIZER))
    told = {"max_length": reader.max_length, "arrays": reader.arrays, "pad": reader.pad}
    (folder / READING).write_text(json.dumps(told, indent=2), encoding="utf-8")
    if runtime == "onnx":
        _write_graph(network, reader, folder / GRAPH, quantize)
    else:
        network.save_pretrained(folder)
    for path in folder.iterdir():
        if path.name not in PLAIN | COMPILED:
            path.unlink()
    if {path.name for path in folder.iterdir()} not in FORMS:
        what = f"The network is stored as {', '.join(sorted(path.name for path in folder.iterdir()))}."
        raise ConfigError(what, f"A network of more than one file of weights cannot be kept; it needs {WEIGHTS}.")


def _write_graph(network: Any, reader: Reader, path: Path, quantize: str | None) -> None:
    """Trace a network for ONNX Runtime; rows and tokens of a batch stay open."""
    import torch

    arrays = reader.batch(reader.read([("profit rose",), ("sales fell sharply",)]), 2, reader.rounded(8))
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    whole = path.with_name("whole.onnx") if quantize else path
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns of what is constant, which is meant
        torch.onnx.export(
            _Logits.around(network, list(given)),
            tuple(given.values()),
            str(whole),
            input_names=list(given),
            output_names=["logits"],
            dynamic_axes={name: {0: "rows", 1: "tokens"} for name in given} | {"logits": {0: "rows"}},
            opset_version=OPSET,
            dynamo=False,
        )
    if quantize:
        from onnxruntime.quantization import (  # type: ignore[import-untyped]
            QuantType,
            quantize_dynamic,
        )

        quantize_dynamic(str(whole), str(path), weight_type=QuantType.QInt8)
        whole.unlink()


class _Logits:
    """A network that takes its arrays by their places, as tracing gives them."""

    @staticmethod
    def around(network: Any, names: list[str]) -> Any:
        import torch

        class Named(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def forward(self, *given: Any) -> Any:
                return self.network(**dict(zip(names, given, strict=True))).logits

        return Named().eval()
