"""What is asked over MLflow: questions and conversations, in each form in which it or a caller hands them.

This file travels inside each logged model that answers, so it imports nothing of this project.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

USER = "user"


def said(messages: Any) -> list[dict[str, Any]]:
    """The messages of a conversation; a text is a user's; what is no conversation is a ValueError."""
    every = [messages] if isinstance(messages, str | dict) else messages
    if not isinstance(every, list | tuple | np.ndarray):
        raise ValueError(f"messages is {messages!r:.60}, and neither a question nor an array of messages")
    return [message if isinstance(message, dict) else {"role": USER, "content": message} for message in every]


def asked(messages: Any) -> tuple[str, str]:
    """The question of a conversation, a user's last message, and what users asked before; a ValueError without one."""
    texts = [_text(message.get("content")) for message in said(messages) if message.get("role", USER) == USER]
    if not texts or not texts[-1].strip():
        raise ValueError("messages holds no question: a message {'role': 'user', 'content': '…'} is needed")
    return texts[-1], "\n".join(texts[:-1])


def _text(content: Any) -> str:
    """The text of a message: itself, or of the parts that it has."""
    parts = [content] if isinstance(content, str) else content
    if isinstance(parts, list):
        return "\n".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
    raise ValueError(f"the content of a message is {content!r:.60}, which is no text")


def conversations(model_input: Any) -> list[Any]:
    """What is asked, in each form in which MLflow or a caller hands it; what has no `messages` is a ValueError."""
    if isinstance(model_input, str):
        return [model_input]
    model_input = [model_input] if isinstance(model_input, dict) else model_input
    if isinstance(model_input, list) and all(isinstance(row, dict) and "role" in row for row in model_input):
        return [model_input] if model_input else []
    rows = model_input.to_dict("records") if isinstance(model_input, pd.DataFrame) else [*model_input]
    if not all(isinstance(row, dict) and "messages" in row for row in rows):
        raise ValueError("there is no column 'messages': an array of {'role': …, 'content': …} for each answer")
    every = [row["messages"] for row in rows]
    # of {"messages": [a conversation]} MLflow makes a row for each message; a question each would all be a user's
    are_messages = every and all(isinstance(message, dict) for message in every)
    return [every] if are_messages and any(message.get("role", USER) != USER for message in every) else every


def is_table(model_input: Any) -> bool:
    """Whether the questions of a batch are asked, which are answered by rows of a table."""
    return isinstance(model_input, pd.DataFrame) and "text" in model_input and "messages" not in model_input


def as_table(answers: Iterable[tuple[str, Sequence[str], Sequence[str], float, bool]]) -> pd.DataFrame:
    """Text, sources, passages, score and refusal of each answer as the table that is kept of them."""
    rows: list[Any] = [*answers]
    texts, sources, passages, scores, refused = ([row[place] for row in rows] for place in range(5))
    return pd.DataFrame(
        {
            "answer": pd.Series(texts, dtype="str"),
            "sources": pd.Series([json.dumps(each, ensure_ascii=False) for each in sources], dtype="str"),
            "score": np.array(scores, dtype="float64"),
            "refused": np.array(refused, dtype="float64"),
            "passages": pd.Series([json.dumps(each, ensure_ascii=False) for each in passages], dtype="str"),
        }
    )
