"""A chain over HTTP: it is asked by `messages` and answers with a string that ends with its source."""

from typing import Any

import pandas as pd

from lifecycle.problems.chat.messages import USER, asked, conversations
from lifecycle.problems.contract import TEXT, OverHttp

MESSAGES, ANSWER = "messages", "answer"


def _query(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({MESSAGES: [[{"role": USER, "content": question}] for question in inputs[TEXT]]})


def _asked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last question of each conversation; rows of questions are what they are, as is what nobody has kept."""
    if not any(MESSAGES in row for row in rows):
        return rows
    return [{TEXT: asked(messages)[0]} for messages in conversations(rows)]


def _told(answer: Any) -> dict[str, Any]:
    """What is said, without its source; the answer to a column of questions is a row of a table."""
    if isinstance(answer, dict):
        return answer
    said = str(answer)
    text, _, citation = said.rpartition(" [")
    return {ANSWER: text if citation.endswith("]") else said}


OVER_HTTP = OverHttp(_query, _asked, _told, (ANSWER,))
