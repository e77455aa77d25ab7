"""The plot of a chain: how sure it is of questions that the documents answer, and of those that they do not."""

from pathlib import Path

import numpy as np

from lifecycle.problems.chat.scores import ChatScores


def draw(scores: ChatScores, folder: Path) -> None:
    """Draw the scores of both kinds of questions into a folder, which is made if need be."""
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, max(1.0, float(scores.score.max(initial=0))), 21).tolist()
    for name, mask in (("in the documents", scores.answerable), ("not in them", ~scores.answerable)):
        axes.hist(scores.score[mask], bins=bins, alpha=0.6, label=f"{name} ({int(mask.sum())})")
    axes.set(xlabel="score", ylabel="questions")
    axes.legend()
    figure.savefig(folder / "scores.png", dpi=120)
