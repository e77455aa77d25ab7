"""One candidate of a search, measured by cross-validation. What stands here is part of the key of each trial."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.core.errors import ConfigError
from lifecycle.problems.contract import inputs_of
from lifecycle.problems.learning import Beside
from lifecycle.tracking import runs
from lifecycle.training import bases
from lifecycle.training.study import Study

if TYPE_CHECKING:
    import pandas as pd


def measured(study: Study, params: Mapping[str, Any], rows: "pd.DataFrame") -> list[float]:
    """The metric of a candidate on each fold.

    Raises:
        ConfigError: The parameters do not fit together, or the metric is undefined.
    """
    learning, inputs, wanted = study.problem.learning, study.manifest.inputs, study.request
    given, places = {**wanted.params, **params}, (wanted.tracking_uri, wanted.registry_uri)
    values = []
    with runs.not_autologged(), bases.fetched(study.entry, given, places) as base:
        for fit, measure in study.folds.of(rows):
            known, held = (rows.iloc[place].reset_index(drop=True) for place in (fit, measure))
            beside = Beside(base=base, vectors=wanted.vectors)
            pipeline = learning.fit(study.spec(params), inputs_of(known, inputs), known[learning.target], beside)
            answers = learning.answers(pipeline, inputs_of(held, inputs), inputs)
            scores = study.problem.judging.scores_of(held[learning.target], {"": answers})[""]
            value = float(study.metric.measure(scores, np.ones(len(held))))
            if not math.isfinite(value):
                raise ConfigError(f"{study.metric.name} is undefined on a fold of {len(held)} rows.", "Fewer --folds.")
            values.append(value)
    return values
