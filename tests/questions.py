"""A folder of documents that somebody has made up, and the questions that a model of them is judged by."""

from pathlib import Path

import pandas as pd

from tests.pairs import DOES, WHAT, WHERE, WHO


def write_project() -> None:
    """A folder of documents, questions of which the documents answer three quarters, and further ones."""
    Path("handbook").mkdir()
    facts = [(f"{what.split()[-1]}{who.split()[-1]}.md", who, what) for what in WHAT for who in WHO]
    for place, (name, who, what) in enumerate(facts):
        text = f"# {who}\n\n{who} is {DOES[place % len(DOES)]} {what} {WHERE[place % len(WHERE)]}.\n"
        Path("handbook", name).write_text(text, encoding="utf-8")
    rows = [(f"Where is {who.lower()} with {what}?", name) for name, who, what in facts]
    rows += [(f"Who told {who.lower()} the {n}th riddle?", "") for who in WHO for n in range(4, 12)]
    table = pd.DataFrame(rows, columns=["question", "documents"])
    table.to_csv("questions.csv", index=False)
    table.sample(20, random_state=0).to_csv("asked.csv", index=False)
