"""How long a call rests before it is made again, and what an answer must be."""

import math
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, NotFoundError, TransientError
from tasks import databricks_calls as calls

SECONDS = st.floats(0, 1e4)


def answered(status: int, text: str = "", **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "https://workspace/api")
    response = httpx.Response(status, text=text, headers=headers, request=request)
    return httpx.HTTPStatusError(f"{status}", request=request, response=response)


@given(attempt=st.integers(0, 50), asked=st.integers(0, 10**6) | st.none(), left=SECONDS, patience=SECONDS)
def test_a_pause_has_a_floor_is_as_long_as_asked_and_ends_in_time(
    attempt: int, asked: int | None, left: float, patience: float
) -> None:
    headers = {} if asked is None else {"Retry-After": str(asked)}
    now = time.monotonic()
    pause = calls._pause(answered(429, **headers), attempt, now + left, now + patience)
    if pause is None:
        return
    assert 0 < pause <= left
    at_the_end = abs(now + left - time.monotonic() - pause) < 1
    assert pause >= calls.PAUSE_SECONDS or at_the_end
    assert pause >= (asked or 0) or at_the_end


def test_without_a_deadline_nobody_waits_longer_than_patience_lasts() -> None:
    later = answered(429, **{"Retry-After": "900"})
    assert calls._pause(later, 0, math.inf, time.monotonic() + 300) is None


@pytest.mark.parametrize("answer", [b"<html>", [], None, "text", {"message": "please sign in"}])
def test_what_is_not_the_documented_answer_is_transient(answer: object) -> None:
    with pytest.raises(TransientError):
        calls._documented(answer, "run_id")


@pytest.mark.parametrize(
    ("error", "kind", "fix"),
    [
        (answered(403, '{"message": "User does not have CAN MANAGE RUN on job 7."}'), ConfigError, "Can Manage Run"),
        (answered(403, '{"message": "No."}'), ConfigError, "grants"),
        (answered(404, '{"message": "Catalog \'dev\' does not exist."}'), NotFoundError, "CREATE CATALOG"),
        (
            answered(400, '{"message": "Only serverless compute is supported in the workspace."}'),
            ConfigError,
            "cluster",
        ),
        (
            answered(400, '{"message": "The run with idempotency token a has been deleted."}'),
            calls.DeletedRunError,
            "again",
        ),
    ],
)
def test_a_refusal_names_what_helps(error: httpx.HTTPStatusError, kind: type, fix: str) -> None:
    meaning = calls._meaning(error)
    assert type(meaning) is kind
    assert fix in meaning.fix
