"""Each rule of the gate as a check: what was measured, what was asked, and whether it passed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lifecycle.errors import IntegrityError
from lifecycle.gate import statistics
from lifecycle.gate.rules import GateRules
from lifecycle.gate.verdict import Check

if TYPE_CHECKING:
    import pandas as pd


def comparable(
    truth: "pd.DataFrame", challenger: "pd.DataFrame", champion: "pd.DataFrame | None", seen: "set[int]"
) -> "pd.DataFrame":
    """Join the stored predictions on the rows of the dataset and leave out texts that a model was trained on.

    Returns:
        One row per comparable text: `row, text, truth, challenger[, champion]`.

    Raises:
        IntegrityError: A model's predictions lack a row, repeat one, carry other labels, or are not usable scores.
    """
    table = truth[["row", "key", "text", "label"]].rename(columns={"label": "truth"})
    for name, predictions in (("challenger", challenger), ("champion", champion)):
        if predictions is not None:
            _check_predictions(name, truth, predictions)
            labels = predictions.set_index("key")["label"].rename(name)
            table = table.join(labels, on="key")
    unseen = ~table["key"].str[:16].map(lambda key: int(key, 16)).isin(seen)
    return table[unseen].drop(columns="key").reset_index(drop=True)


def enough_rows(rows: "pd.DataFrame", left_out: int, rules: GateRules) -> Check:
    """Whether the comparable rows, in all and of the rarest class, are enough to judge on."""
    rarest = int(rows["truth"].value_counts().min()) if len(rows) else 0
    enough = len(rows) >= rules.min_rows and rarest >= rules.min_rows_per_class
    seen = f"; {left_out} left out because a model was trained on them" if left_out else ""
    return Check(
        name="comparable rows",
        outcome="pass" if enough else "not_enough_data",
        value=len(rows),
        limit=rules.min_rows,
        detail=f"{rarest} of the rarest class (at least {rules.min_rows_per_class}){seen}",
    )


def floors(rows: "pd.DataFrame", rules: GateRules) -> Iterator[Check]:
    """One check per floor: the metric itself, not its interval, must reach it."""
    for metric, floor in sorted(rules.floors.items()):
        found = statistics.metric_interval(
            metric, rows["truth"], rows["challenger"], confidence=rules.confidence, resamples=rules.resamples
        )
        yield Check(
            name=f"floor {metric}",
            outcome="pass" if found.value >= floor else "fail",
            value=found.value,
            low=found.low,
            high=found.high,
            limit=floor,
        )


def beats_champion(rows: "pd.DataFrame", rules: GateRules) -> Check:
    """The paired comparison: the whole interval of the gain must lie above `min_gain`. A tie keeps the champion."""
    paired = statistics.compare(
        rules.metric,
        rows["truth"],
        rows["challenger"],
        rows["champion"],
        confidence=rules.confidence,
        resamples=rules.resamples,
    )
    differs = bool((rows["challenger"] != rows["champion"]).any())
    return Check(
        name=f"gain in {rules.metric}",
        outcome="pass" if differs and paired.gain.low > rules.min_gain else "fail",
        value=paired.gain.value,
        low=paired.gain.low,
        high=paired.gain.high,
        limit=rules.min_gain,
        detail=f"{paired.repaired} rows repaired, {paired.broken} broken, McNemar p = {paired.mcnemar_p:.2g}",
    )


def _check_predictions(name: str, truth: "pd.DataFrame", predictions: "pd.DataFrame") -> None:
    problems = {
        "repeats a row": predictions["key"].duplicated().any(),
        "covers other rows than the dataset": set(predictions["key"]) != set(truth["key"]),
        "has an empty label": predictions["label"].isna().any() or (predictions["label"] == "").any(),
        "has a score outside [0, 1]": not predictions["score"].between(0, 1).all(),
    }
    if found := [problem for problem, broken in problems.items() if broken]:
        raise IntegrityError(f"The stored predictions of the {name} are not usable: {', '.join(found)}.")
    recorded = predictions.set_index("key")["truth"].reindex(truth["key"]).to_numpy(object)
    if (recorded != truth["label"].to_numpy(object)).any():
        raise IntegrityError(f"The {name} was evaluated against other labels than the dataset's.")
