"""How often the same rows were asked: whoever tries often enough on one holdout finds a model that looks better there.

Each run remembers on which rows its model was judged, and when first; so a challenger's place among all of its name is
the same in every environment, and however often it is judged again. What this guards against: Dwork et al. 2015, *The
reusable holdout*; Blum and Hardt 2015, *The Ladder: A Reliable Leaderboard for Machine Learning Competitions*.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mlflow.entities import Run, ViewType

from lifecycle.core.errors import MlopsError
from lifecycle.core.names import Environment, Side
from lifecycle.data import dataset
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate.verdict import Rule
from lifecycle.tracking import runs
from lifecycle.tracking.client import client, translated
from lifecycle.tracking.runs import ARTIFACT_SHA256

JUDGED = "mlops.judged"
"""The tag of a run with the rows that its model was judged on, as JSON: where they lie, to when that was first."""
KEPT = 50
"""How many of them: a tag holds 5,000 characters."""


class Asked(NamedTuple):
    """Other challengers that were judged on some rows before: how many, and each as the share of rows it had."""

    challengers: int
    share: float


def place_of(request: EvaluateRequest, rule: Rule) -> str:
    """What the rows of one side of one dataset version are called where models are judged on them by a rule."""
    return f"{request.data_name}/{request.dataset_digest[:16]}/{request.side}/{rule}"


def note(request: EvaluateRequest, rule: Rule) -> None:
    """Remember that a model was judged on these rows; the first time counts."""
    known, place = _judged(_tags(request)) or {}, place_of(request, rule)
    if place not in known:
        latest = dict(sorted(known.items(), key=lambda each: each[1])[1 - KEPT :])
        value = json.dumps(latest | {place: round(time.time(), 3)}, separators=(",", ":"))
        with translated():
            client(request.model.tracking_uri).set_tag(request.model.run_id, JUDGED, value)


def before(request: EvaluateRequest, rule: Rule) -> Asked:
    """Who of the same model name was judged on these rows by a rule before this challenger was for the first time.

    The same file under several runs is one challenger. Rows that a dataset version has and an earlier one had not were
    not asked when that one was; of a version that is gone nobody knows, so it counts as the same rows.
    """
    tags, place = _tags(request), place_of(request, rule)
    own = (_judged(tags) or {}).get(place, math.inf)
    shares = dict[str, float]()
    overlap = _Overlap(request, rule)
    for run in _runs(request, tags):
        artifact = run.data.tags.get(ARTIFACT_SHA256, run.info.run_id)
        known = _judged(run.data.tags)
        earlier = [place] if known is None else [other for other, when in known.items() if when < own]
        if artifact != request.model.artifact_sha256 and earlier:
            shares[artifact] = max(shares.get(artifact, 0.0), *map(overlap.share, earlier))
    some = [share for share in shares.values() if share > 0]
    return Asked(len(some), math.fsum(some))


class _Overlap:
    """Which share of the rows to judge on other rows cover."""

    def __init__(self, request: EvaluateRequest, rule: Rule) -> None:
        self.request, self.rule = request, rule
        self.keys = self._keys(request.data_version, request.side)
        self.known = {place_of(request, rule): 1.0}
        self.versions = {each.digest[:16]: each for each in dataset.versions(request.data_root, request.data_name)}

    def share(self, place: str) -> float:
        """Of the rows at a place; of rows of another dataset, and by another rule, nothing is asked."""
        if place not in self.known:
            self.known[place] = self._measured(*place.split("/"))
        return self.known[place]

    def _measured(self, name: str, digest: str, side: str, rule: str) -> float:
        if (name, rule) != (self.request.data_name, self.rule):
            return 0.0
        if digest not in self.versions:
            return 1.0
        try:
            other = self._keys(self.versions[digest].data_version, Side(side))
        except (MlopsError, ValueError):
            return 1.0
        return len(self.keys & other) / max(1, len(self.keys))

    def _keys(self, version: str, side: Side) -> set[str]:
        return {*dataset.load_rows(self.request.data_root, self.request.data_name, version, side)["key"]}


def _tags(request: EvaluateRequest) -> Mapping[str, str]:
    return runs.tags(request.model.tracking_uri, request.model.run_id)


def _judged(tags: Mapping[str, str]) -> dict[str, float] | None:
    """What a run remembers; None if it cannot be read any more, which then counts as everything."""
    try:
        found = {str(place): float(when) for place, when in json.loads(tags.get(JUDGED, "{}")).items()}
    except (ValueError, AttributeError, TypeError):
        return None
    return found if all(place.count("/") == 3 for place in found) else None


def _runs(request: EvaluateRequest, tags: Mapping[str, str]) -> Iterator[Run]:
    """The runs of models of this name that were ever judged; a deleted run has been judged all the same."""
    mlflow, name = client(request.model.tracking_uri), tags.get("mlops.model_name", "")
    where = f"tags.`mlops.model_name` = '{name}' AND tags.`{JUDGED}` LIKE '%{request.data_name}/%'"
    with translated():
        experiments = {mlflow.get_run(request.model.run_id).info.experiment_id}
        for env in Environment:
            for path in (f"{name}-{env}", f"/Shared/{name}-{env}"):
                found = mlflow.get_experiment_by_name(path)
                experiments |= {found.experiment_id} if found else set()
        token = None
        while token != "":
            page = mlflow.search_runs(sorted(experiments), where, ViewType.ALL, page_token=token)
            yield from page
            token = page.token or ""
