"""The policies, by kind of step. Only errors that waiting may cure are retried; nothing mutable is ever cached.

`on_data`      heavy or pure, named by its inputs: a retry of a failed flow run reuses what has completed
`on_registry`  reads or changes the registry: always executed, made safe to repeat by its idempotency key
`stage`        holds the steps of one part of a release together
`in_the_ui`    writes a report for Prefect's UI
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import State, Task, task
from prefect.cache_policies import DEFAULT, NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.exceptions import TerminationSignal
from prefect.transactions import CommitMode, transaction

from lifecycle.core import lost_signals
from lifecycle.core.errors import TransientError
from lifecycle.core.masking import shielded

P = ParamSpec("P")
R = TypeVar("R")

BACKOFF_SECONDS: list[float] = [1, 4, 15]
TRANSIENT = (TransientError, ConnectionError, TimeoutError)


async def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what waiting can cure: bad data, a refusal, a conflict or a bug fails at once."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, TRANSIENT)


def on_data(step: Callable[P, R]) -> Task[P, R]:
    """The policy of what is heavy or pure.

    DEFAULT keys a result by inputs, source and flow run: a rerun of a flow never sees another run's results.
    """
    return _on_data(shielded(_ended_by_signals(step)))


def on_registry(step: Callable[P, R]) -> Task[P, R]:
    """The policy of what reads or changes the registry."""
    return _on_registry(shielded(_ended_by_signals(step)))


def _ended_by_signals(step: Callable[P, R]) -> Callable[P, R]:
    """The same step; a signal ends it, also one whose exception is lost where it comes."""

    @wraps(step)
    def ended(*args: P.args, **kwargs: P.kwargs) -> R:
        with lost_signals.sent_again(_of_prefect):
            return step(*args, **kwargs)

    return ended


def _of_prefect(error: BaseException | None) -> int | None:
    return error.signal if isinstance(error, TerminationSignal) else None


_on_data = task(
    persist_result=True,
    result_serializer="json",
    cache_policy=DEFAULT,
    retries=len(BACKOFF_SECONDS),
    retry_delay_seconds=BACKOFF_SECONDS,
    retry_jitter_factor=0.3,
    retry_condition_fn=is_transient,
)

_on_registry = task(
    persist_result=False,
    cache_policy=NO_CACHE,
    retries=len(BACKOFF_SECONDS),
    retry_delay_seconds=BACKOFF_SECONDS,
    retry_jitter_factor=0.3,
    retry_condition_fn=is_transient,
)


def stage(name: str, run: Callable[[], R]) -> R:
    """Run what belongs together as one task of this name, which Prefect's UI draws around the tasks within.

    A flow within a flow would do so too, but takes a second to begin, and would be another flow run, whose retry reuses
    nothing. Results are committed as they are made: by themselves they would wait for the end of the stage.
    """
    return _stage.with_options(name=name, task_run_name=name)(run)


@task(persist_result=False, cache_policy=NO_CACHE)
def _stage(run: Callable[[], R]) -> R:
    with transaction(commit_mode=CommitMode.EAGER, write_on_commit=False):
        return shielded(_ended_by_signals(run))()


def in_the_ui(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """The policy of a report, under the name that the UI shows."""
    return task(name=name, persist_result=False, cache_policy=NO_CACHE)
