"""How well a model does on one split: metrics of the whole, and of each class as metrics and as a table."""

from typing import TYPE_CHECKING, Any

from lifecycle.core.class_names import as_metric
from lifecycle.problems.learning import Summary

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "classes"
"""Where the tables lie among the artifacts of a run."""
SINGLE = 50
"""Where there are more classes than this, single ones stand in the table alone: thousands of metrics hide the few."""
SCORES = ("precision", "recall", "f1")
PROBABILITY = "probability."
"""What the columns of answers begin with that hold the probability of a class."""


def answers(model: Any, inputs: "pd.DataFrame") -> "pd.DataFrame":
    """What a model of ours says of each row: `label, score` and `probability.<class>`."""
    import pandas as pd

    probabilities = model.probabilities(inputs)
    columns = [f"{PROBABILITY}{name}" for name in model.pipeline.classes_]
    told: pd.DataFrame = model.labelled(probabilities)
    return told.join(pd.DataFrame(probabilities, columns=columns))


def summary(split: str, truth: Any, answers: "pd.DataFrame") -> Summary:
    """What is logged of one split, from the truth of its rows and the labels that a model gives them."""
    classes = by_class(truth, answers["label"])
    return Summary(metrics(split, classes), classes)


def by_class(truth: Any, predicted: Any) -> "pd.DataFrame":
    """A row per class: its name, how it is written in the names of metrics, its scores, and its rows."""
    import pandas as pd
    from sklearn.metrics import precision_recall_fscore_support

    classes = sorted({*map(str, truth), *map(str, predicted)})
    scores = precision_recall_fscore_support(list(truth), list(predicted), labels=classes, zero_division=0.0)
    names = {"class": classes, "metric": [as_metric(label) for label in classes]}
    return pd.DataFrame(names | dict(zip((*SCORES, "rows"), scores, strict=True)))


def metrics(split: str, classes: "pd.DataFrame") -> dict[str, float]:
    """Metrics of one split as MLflow names: `test.f1_macro`, `test.accuracy`, `test.recall.<class>` and so on."""
    rows = classes["rows"]
    right = (classes["recall"] * rows).round().sum()
    by_name = {f"{split}.accuracy": float(right / rows.sum())}
    for score in SCORES:
        by_name[f"{split}.{score}_macro"] = float(classes[score].mean())
        by_name[f"{split}.{score}_weighted"] = float((classes[score] * rows).sum() / rows.sum())
        if len(classes) <= SINGLE:
            single = zip(classes["metric"], classes[score], strict=True)
            by_name |= {f"{split}.{score}.{name}": float(value) for name, value in single}
    return by_name
