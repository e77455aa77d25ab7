"""A language model behind an endpoint that speaks OpenAI's protocol. Its key comes from the environment alone.

That is OPENAI_API_KEY, and of the endpoint `databricks` DATABRICKS_HOST and DATABRICKS_TOKEN.
"""

import os
from typing import Any

from lifecycle.problems.chat.settings import DATABRICKS, Settings

NO_KEY = "none"
"""What is sent to an endpoint that is named, where no key is set: a server of one's own asks for none."""
FALLS_BACK = "or let the passages answer where it fails: falls_back: true"
PASSING = frozenset({408, 409, 429})
"""Beside those from 500 on, the statuses that waiting may cure."""


class EndpointError(RuntimeError):
    """The language model cannot be asked, or does not answer.

    Attributes:
        is_transient: Whether waiting may cure it.
    """

    def __init__(self, what: str, *, is_transient: bool = False) -> None:
        super().__init__(what)
        self.is_transient = is_transient


def generated(prompt: str, settings: Settings, *, otherwise: str = FALLS_BACK) -> str:
    """The answer of a language model.

    Args:
        prompt: What it is asked.
        settings: Which one, and how.
        otherwise: What may be done instead, if it fails.

    Raises:
        EndpointError: There is none; it says what to do about that.
    """
    try:
        from openai import APIConnectionError, OpenAI, OpenAIError
    except ImportError:
        raise EndpointError("A language model is asked with the package openai: pip install openai") from None
    try:
        with OpenAI(timeout=settings.timeout, max_retries=settings.retries, **_access(settings)) as client:
            told = client.chat.completions.create(
                model=settings.language_model,
                messages=[{"role": "user", "content": prompt}],
                temperature=settings.temperature,
                max_tokens=settings.max_tokens,
            )
        text = (told.choices[0].message.content or "").strip() if told.choices else ""
    except OpenAIError as error:
        # the words of a library may hold a secret: only the kind of error is told
        status = getattr(error, "status_code", None) or 0
        said = type(error).__name__ + (f", status {status}" if status else "")
        what = f"The language model {settings.language_model!r} does not answer ({said})."
        passing = isinstance(error, APIConnectionError) or status >= 500 or status in PASSING
        raise EndpointError(f"{what} {_way_out(settings)}, {otherwise}.", is_transient=passing) from None
    if not text:
        raise EndpointError(f"The language model {settings.language_model!r} gave an empty answer.", is_transient=True)
    return text


def _access(settings: Settings) -> dict[str, Any]:
    """The address and the key, where the library is not to read them from its own variables."""
    if settings.endpoint != DATABRICKS:
        key = os.environ.get("OPENAI_API_KEY") or NO_KEY
        return {"base_url": settings.endpoint, "api_key": key} if settings.endpoint else {}
    if lacking := [name for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN") if not os.environ.get(name)]:
        raise EndpointError(f"To ask a model that Databricks serves, set {' and '.join(lacking)}.")
    host = os.environ["DATABRICKS_HOST"].rstrip("/")
    address = host if "://" in host else f"https://{host}"
    return {"base_url": f"{address}/serving-endpoints", "api_key": os.environ["DATABRICKS_TOKEN"]}


def _way_out(settings: Settings) -> str:
    where = "endpoint" if settings.endpoint else "OPENAI_BASE_URL"
    return f"Check {where} and OPENAI_API_KEY"
