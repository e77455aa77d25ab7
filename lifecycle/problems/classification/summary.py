"""How well a model does on one side: metrics of the whole, and of each class as metrics and as a table."""

from typing import TYPE_CHECKING, Any

from lifecycle.core.class_names import as_metric
from lifecycle.core.names import Side

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "classes"
"""Where the tables lie among the artifacts of a run."""
SINGLE = 50
"""Where there are more classes than this, single ones stand in the table alone: thousands of metrics hide the few."""
SCORES = ("precision", "recall", "f1")


def by_class(truth: Any, predicted: Any) -> "pd.DataFrame":
    """A row per class: its name, how it is written in the names of metrics, its scores, and its rows."""
    import pandas as pd
    from sklearn.metrics import precision_recall_fscore_support

    classes = sorted({*map(str, truth), *map(str, predicted)})
    scores = precision_recall_fscore_support(list(truth), list(predicted), labels=classes, zero_division=0.0)
    names = {"class": classes, "metric": [as_metric(label) for label in classes]}
    return pd.DataFrame(names | dict(zip((*SCORES, "rows"), scores, strict=True)))


def metrics(side: Side, classes: "pd.DataFrame") -> dict[str, float]:
    """Metrics of one side as MLflow names: `test.f1_macro`, `test.accuracy`, `test.recall.<class>` and so on."""
    rows = classes["rows"]
    right = (classes["recall"] * rows).round().sum()
    found = {f"{side}.accuracy": float(right / rows.sum())}
    for score in SCORES:
        found[f"{side}.{score}_macro"] = float(classes[score].mean())
        found[f"{side}.{score}_weighted"] = float((classes[score] * rows).sum() / rows.sum())
        if len(classes) <= SINGLE:
            single = zip(classes["metric"], classes[score], strict=True)
            found |= {f"{side}.{score}.{name}": float(value) for name, value in single}
    return found
