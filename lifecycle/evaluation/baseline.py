"""What a version was like when it was judged: what production is compared with, frozen beside the model's run.

It is made of the rows that the gate judges on and of the stored answers to them, both of which never change: so one
that is made later, of a version that was registered before there were any, is the same.
"""

import base64
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError, MetricError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import ProblemName, Side
from lifecycle.core.references import ModelRef
from lifecycle.data.manifest import Manifest
from lifecycle.evaluation.estimates import Learnt, learnt
from lifecycle.problems import distributions
from lifecycle.problems.contract import Column, inputs_of
from lifecycle.problems.distributions import Distribution, Vocabulary
from lifecycle.problems.known import Problem, named
from lifecycle.problems.metric import Scores
from lifecycle.tracking import artifacts, runs
from lifecycle.tracking.client import client, translated

FOLDER = "monitoring"
"""Of the artifacts of a run."""
LATER = {"reach", "outside"}
"""What distributions of an earlier release did not have."""


class Baseline(Frozen):
    """What a model was given and answered on the rows that it was judged on, as counts and metrics."""

    problem: ProblemName
    data_name: str
    data_version: str
    dataset_digest: str
    source_sha256: str
    side: Side
    rows: int
    columns: tuple[Column, ...]
    distributions: tuple[Distribution, ...]
    vocabularies: dict[str, str]
    """By input, the digests of the words that training had seen."""
    metrics: dict[str, float]
    learnt: Learnt | None = None
    """What tells how well rows without truth are answered."""

    @property
    def content(self) -> dict[str, Any]:
        """As it is stored; what an earlier release did not know is not there, so that digests stay as they are."""
        content = self.model_dump(mode="json")
        for part, later in ((content, {"learnt"}), *((each, LATER) for each in content["distributions"])):
            for name in later & part.keys():
                if part[name] is None:
                    del part[name]
        return content

    @property
    def digest(self) -> str:
        """The sha256 of its content."""
        content = json.dumps(self.content, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def known(self) -> dict[str, Vocabulary]:
        """The vocabularies as they are compared."""
        read = {name: base64.b64decode(text) for name, text in self.vocabularies.items()}
        return {name: frozenset(np.frombuffer(words, "<u4").tolist()) for name, words in read.items()}

    @classmethod
    def of(cls, manifest: Manifest, side: Side, rows: pd.DataFrame, answers: pd.DataFrame, train: pd.DataFrame) -> Self:
        """That of a side's rows and of the answers to them beside their truth, and of what was trained on."""
        problem, columns = named(manifest.problem), manifest.inputs
        texts = [column for column in columns if column.is_text]
        known = {column.name: distributions.vocabulary(train[column.stored].dropna()) for column in texts}
        inputs = inputs_of(rows, columns).reset_index(drop=True)
        seen = [
            *distributions.of_inputs(inputs, columns, known),
            *distributions.of_predictions(answers.reset_index(drop=True), problem),
        ]
        return cls(
            problem=manifest.problem,
            data_name=manifest.data_name,
            data_version=manifest.data_version,
            dataset_digest=manifest.digest,
            source_sha256=manifest.source_sha256,
            side=side,
            rows=len(rows),
            columns=columns,
            distributions=tuple(Distribution.of(each) for each in seen),
            vocabularies={name: _packed(words) for name, words in known.items()},
            metrics=_metrics(problem, answers),
            learnt=learnt(problem, distributions.features(seen), answers),
        )


def log(model: ModelRef, name: str, baseline: Baseline) -> None:
    """Keep a baseline beside the model's run."""
    content = {"digest": baseline.digest, "baseline": baseline.content}
    with tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary, translated():
        path = Path(temporary, name)
        path.write_text(json.dumps(content, sort_keys=True, ensure_ascii=False), encoding="utf-8")
        client(model.tracking_uri).log_artifact(model.run_id, str(path), FOLDER)


def name_of(evaluation: str) -> str:
    """What the baseline is called that is made of a stored evaluation."""
    return f"baseline-{Path(evaluation).stem}.json"


def load(model: ModelRef) -> Baseline | None:
    """The baseline of a model: of the dataset that it was trained on, else of the first that it was judged on.

    Raises:
        IntegrityError: It is not what was frozen.
    """
    found = sorted(artifacts.names(model.tracking_uri, model.run_id, FOLDER))
    own = runs.tags(model.tracking_uri, model.run_id).get("mlops.dataset_digest", "")
    mine = [path for path in found if path.endswith(f"-{model.artifact_sha256[:16]}.json")]
    if not mine:
        return None
    path = next((path for path in mine if own and f"baseline-{own[:16]}-" in path), mine[0])
    return _verified(artifacts.read(model.tracking_uri, model.run_id, path), f"{model.label}, {path}")


def _verified(content: bytes, what: str) -> Baseline:
    try:
        read = json.loads(content)
        baseline = Baseline.model_validate(read["baseline"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise IntegrityError(f"The baseline of {what} cannot be read: {error!s:.200}", _AGAIN) from None
    if baseline.digest != read["digest"]:
        raise IntegrityError(f"The baseline of {what} is not the one that was frozen.", _AGAIN)
    return baseline


_AGAIN = "Remove that artifact; then: mlops monitor baseline"


def _packed(words: Vocabulary) -> str:
    return base64.b64encode(np.array(sorted(words), "<u4").tobytes()).decode()


def _metrics(problem: Problem, answers: pd.DataFrame) -> dict[str, float]:
    """The metrics of the problem that need no more than what a batch keeps of its predictions."""
    scores = problem.judging.scores_of(answers["truth"], {"": answers})[""]
    return dict(measured(problem, scores))


def measured(problem: Problem, scores: Scores) -> Iterator[tuple[str, float]]:
    """The value of each metric of whole rows that some scores allow without probabilities."""
    for metric in problem.judging.standard(scores):
        if metric.needs_probabilities or "." in metric.name:
            continue
        with suppress(MetricError):
            value = float(metric.measure(scores, np.ones(len(scores.truth))))
            if math.isfinite(value):
                yield metric.name, value
