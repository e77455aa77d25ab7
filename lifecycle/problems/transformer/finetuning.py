"""The loop that fine-tunes: the same rows, parameters and seed give the same weights, interrupted or not.

Every step draws from a seed of its own, so a training that was killed goes on from its last checkpoint as if nothing
had happened. A checkpoint holds tensors alone and replaces the one before in one step.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lifecycle.problems.learning import Beside
from lifecycle.problems.transformer.base import Start
from lifecycle.problems.transformer.model import Encoder, Reader, Rows, forward_of
from lifecycle.storage.files import publish_file

if TYPE_CHECKING:
    import pandas as pd

    from lifecycle.problems.transformer.estimator import Transformer

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 300.0
ALIKE = 50
"""Batches whose rows are sorted by length among themselves: less is filled up, and the order stays one of chance."""
IGNORED = -100


class Place(NamedTuple):
    """How far a training has come.

    Attributes:
        step: Steps that are done, of all epochs.
        best: The lowest loss on the test split.
        worse: Epochs since then.
    """

    step: int = 0
    best: float = math.inf
    worse: int = 0


class Training:
    """A network on its way: weights, what the optimiser remembers, and how far it has come."""

    def __init__(self, chosen: "Transformer", start: Start, device: str) -> None:
        import torch

        self.chosen, self.network, self.reader, self.device = chosen, start.network.to(device), start.reader, device
        decayed = [weights for weights in self.network.parameters() if weights.ndim > 1]
        others = [weights for weights in self.network.parameters() if weights.ndim < 2]
        groups = [{"params": decayed, "weight_decay": chosen.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=chosen.learning_rate)
        self.place, self.best = Place(), dict[str, Any]()

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        from safetensors.torch import save_file

        of_optimiser = self.optimiser.state_dict()["state"]
        tensors = {f"network.{name}": held for name, held in self.network.state_dict().items()}
        tensors |= {f"best.{name}": held for name, held in self.best.items()}
        tensors |= {f"optimiser.{n}.{name}": held for n, state in of_optimiser.items() for name, held in state.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with publish_file(path) as temporary:
            save_file(_apart(tensors), temporary, {"place": json.dumps(self.place)})

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        from safetensors import safe_open

        with safe_open(path, "pt", device=self.device) as file:
            self.place = Place(*json.loads(file.metadata()["place"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        self.network.load_state_dict(_below("network", tensors))
        self.best = _below("best", tensors)
        state: dict[int, dict[str, Any]] = {}
        for name, held in _below("optimiser", tensors).items():
            number, _, what = name.partition(".")
            state.setdefault(int(number), {})[what] = held
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        logger.info("The training goes on from its checkpoint, after %s steps", f"{self.place.step:,}")

    def step(self, rows: list[Any], labels: Any, weights: Any, rate: float) -> float:
        """Learn from one batch; returns its loss."""
        import torch

        torch.manual_seed((self.chosen.random_state or 0) + self.place.step)
        arrays = self.reader.batch(rows, len(rows), max(len(read.ids) for read in rows))
        given = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=_halves(self.chosen.precision, self.device)):
            logits = self.network(**given).logits
        truth = torch.from_numpy(labels).to(self.device)
        loss = torch.nn.functional.cross_entropy(logits.float(), truth, weight=weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.chosen.max_grad_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.place = self.place._replace(step=self.place.step + 1)
        return float(loss.detach())

    def judge(self, test: Rows, labels: Any) -> bool:
        """Look at the test split after an epoch and keep the best weights; returns whether it is time to end."""
        told = Encoder(
            self.reader,
            forward_of(self.network.eval()),
            [*map(str, [*map(str, range(self.network.config.num_labels))])],
        )
        chances = told.predict_proba(test)[np.arange(len(labels)), labels]
        loss = float(-np.log(np.clip(chances, 1e-15, 1)).mean())
        is_best = loss < self.place.best
        if is_best:
            self.best = {name: held.detach().cpu().clone() for name, held in self.network.state_dict().items()}
        self.place = Place(self.place.step, min(loss, self.place.best), 0 if is_best else self.place.worse + 1)
        logger.info("Loss on the test split %.4f%s", loss, "" if is_best else ", which is no better")
        return self.place.worse >= (self.chosen.patience or math.inf)


def finetuned(
    chosen: "Transformer", start: Start, rows: "tuple[pd.DataFrame, Any]", beside: Beside
) -> tuple[Any, Reader]:
    """Fine-tune; returns the network on the device that it was trained on, and what reads for it."""
    import torch

    device = chosen.device if chosen.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]), _determined():
        training = Training(chosen, start, device)
        path = beside.checkpoints / CHECKPOINT if beside.checkpoints else None
        if path and path.is_file():
            training.resume(path)
        _run(training, start, rows, beside, path)
    if training.best:
        training.network.load_state_dict(training.best)
    return training.network.eval(), training.reader


def _run(training: Training, start: Start, rows: "tuple[pd.DataFrame, Any]", beside: Beside, path: Path | None) -> None:
    chosen = training.chosen
    read, labels = training.reader.read(as_rows(rows[0])), _numbered(rows[1], start.classes)
    test = None if beside.inputs is None else (as_rows(beside.inputs), _numbered(beside.target, start.classes))
    weights = _weights(chosen.class_weight, labels, len(start.classes), training.device)
    per_epoch = -(-len(read) // chosen.batch_size)
    total, saved = per_epoch * chosen.epochs, time.monotonic()
    for epoch in range(training.place.step // per_epoch, chosen.epochs):
        batches = _batches([len(each.ids) for each in read], chosen.batch_size, (chosen.random_state or 0, epoch))
        losses = []
        for batch in batches[training.place.step - epoch * per_epoch :]:
            training.network.train()
            rate = chosen.learning_rate * _share_of_rate(training.place.step, total, chosen.warmup)
            losses.append(training.step([read[place] for place in batch], labels[batch], weights, rate))
            if path and time.monotonic() - saved > CHECKPOINT_SECONDS and training.place.step % per_epoch:
                training.save(path)
                saved = time.monotonic()
        logger.info("Epoch %d of %d: loss %.4f", epoch + 1, chosen.epochs, np.mean(losses))
        ends = bool(chosen.patience and test and training.judge(*test))
        if path and not ends:
            training.save(path)
            saved = time.monotonic()
        if ends:
            return


def as_rows(inputs: "pd.DataFrame") -> list[tuple[str, ...]]:
    """Inputs as rows of texts, in the order of their columns."""
    return list(inputs.itertuples(index=False, name=None))


def _numbered(target: Any, classes: tuple[str, ...]) -> Any:
    """Labels as the places of their classes; a class that train lacks is left out of the loss of the test split."""
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places.get(str(label), IGNORED) for label in target], dtype=np.int64)


def _batches(lengths: list[int], size: int, seed: tuple[int, int]) -> list[Any]:
    """The rows of an epoch in batches of rows of about one length, in an order of chance."""
    rng = np.random.default_rng(seed)
    order, measured = rng.permutation(len(lengths)), np.array(lengths)
    parts = [order[start : start + size * ALIKE] for start in range(0, len(order), size * ALIKE)]
    ordered = np.concatenate([part[np.argsort(-measured[part], kind="stable")] for part in parts])
    batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def _share_of_rate(step: int, total: int, warmup: float) -> float:
    rising = max(1, int(total * warmup))
    return (step + 1) / rising if step < rising else max(0.0, (total - step) / max(1, total - rising))


def _weights(chosen: str | None, labels: Any, classes: int, device: str) -> Any:
    import torch

    if chosen is None:
        return None
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32, device=device)


def _halves(precision: str, device: str) -> bool:
    import torch

    is_able = device == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16" or (precision == "auto" and is_able)


def _apart(tensors: dict[str, Any]) -> dict[str, Any]:
    """Tensors as a file takes them: none in the memory of another; what stands alone is not copied."""
    held, seen = dict[str, Any](), set[int]()
    for name, tensor in tensors.items():
        here = tensor.detach().cpu().contiguous()
        place = here.untyped_storage().data_ptr()
        held[name] = here.clone() if place in seen else here
        seen.add(place)
    return held


def _below(part: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(f"{part}."): held for name, held in tensors.items() if name.startswith(f"{part}.")}


@contextmanager
def _determined() -> Iterator[None]:
    """Of two ways to compute the same, the one that gives the same bits each time."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
