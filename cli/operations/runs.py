"""Start a run of a deployment, follow it to its end, and say what came of it with the exit codes of every command."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from lifecycle.core.errors import ConfigError, MlopsError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.parameters import literal, require_sealed
from lifecycle.core.patterns import without_patterns
from lifecycle.gate import verdict

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import Artifact, FlowRun
    from prefect.client.schemas.responses import DeploymentResponse

logger = logging.getLogger("lifecycle.runs")

POLL_SECONDS = 1.0
LOGS_AT_ONCE = 200
REFUSED, INTERRUPTED = 4, 6
INSTEAD = {"data_name": ("input",), "input": ("data_name", "data_version", "split")}
"""What a parameter that a person gives takes the place of, whatever the deployment says of that."""


class Ended(Frozen):
    """How a run ended."""

    deployment: str
    flow_run_id: UUID
    name: str
    state: str
    message: str
    link: str
    exit_code: int


def deployment_of(client: "SyncPrefectClient", name: str) -> "DeploymentResponse":
    """A deployment by its full name.

    Raises:
        ConfigError: There is none of this name.
    """
    from prefect.exceptions import ObjectNotFound

    from cli.operations.deployments import deployed

    try:
        return client.read_deployment_by_name(name)
    except (ObjectNotFound, ValueError):
        known = ", ".join(each.name for each in deployed()) or "none"
        raise ConfigError(f"There is no deployment {name!r}; there are: {known}.", "Make them: mlops deploy") from None


def form(deployment: "DeploymentResponse") -> dict[str, Any]:
    """The schema of a deployment's parameters, which is also its form in the UI."""
    return {"properties": {}, **(deployment.parameter_openapi_schema or {})}


def start(
    client: "SyncPrefectClient",
    deployment: "DeploymentResponse",
    parameters: Mapping[str, Any],
    *,
    key: str | None = None,
) -> "FlowRun":
    """Start a run, or find the one that was started with the same key.

    Raises:
        ConfigError: A parameter holds a secret, or the server refuses it; no run is started.
    """
    from prefect.exceptions import PrefectHTTPStatusError

    fields = form(deployment)["properties"]
    if unknown := set(parameters) - set(fields):
        known = ", ".join(fields)
        raise ConfigError(f"The deployment has no parameter {', '.join(sorted(unknown))}.", f"It has: {known}.")
    require_sealed(parameters)
    replaced = {other for name in parameters for other in INSTEAD.get(name, ()) if other in fields}
    given = dict.fromkeys(replaced - set(parameters)) | dict(parameters)
    try:
        return client.create_flow_run_from_deployment(
            deployment.id, parameters=given, idempotency_key=key, tags=deployment.tags
        )
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in {409, 422}:
            raise
        detail = error.response.json().get("detail", error.response.text)
        what = f"The parameters were refused: {without_patterns(str(detail))}."
        raise ConfigError(what, "See the form of the deployment.") from None


def retry(client: "SyncPrefectClient", run: "FlowRun") -> None:
    """Let a run that failed go on: what it completed is reused."""
    from prefect.states import AwaitingRetry

    client.set_flow_run_state(run.id, AwaitingRetry(), force=True)


def follow(client: "SyncPrefectClient", deployment: str, run_id: UUID, deadline_seconds: float) -> Ended:
    """Show a run's log lines until it ends.

    Raises:
        TransientError: It still runs after the deadline; it is left running.
    """
    start, seen = time.monotonic(), 0
    while True:
        run = client.read_flow_run(run_id)
        seen = _show_logs(client, run_id, seen)
        if run.state and run.state.is_final():
            time.sleep(POLL_SECONDS)  # the last lines come in batches
            _show_logs(client, run_id, seen)
            return _ended(deployment, run)
        if time.monotonic() - start > deadline_seconds:
            what = f"{deployment} is still {run.state_name} after {deadline_seconds:g} s; it goes on."
            raise TransientError(what, f"Stop it: prefect flow-run cancel {run_id}")
        time.sleep(POLL_SECONDS)


def parsed(deployment: "DeploymentResponse", pairs: Sequence[str]) -> dict[str, Any]:
    """Parameters from `NAME=VALUE`: a text where the form takes one, else JSON or a Python literal; empty is left out.

    Raises:
        ConfigError: There is no `=`.
    """
    found = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"--param {pair!r} is no NAME=VALUE.", "For example: --param model_name=sentiment")
        if text:
            found[name] = _value(form(deployment), name, text)
    return found


def summary(client: "SyncPrefectClient", ended: Ended) -> str:
    """What happened as Markdown: state, reason, and the reports that the run left in Prefect's UI."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[ended.flow_run_id]))
    artifacts = sorted(client.read_artifacts(artifact_filter=chosen), key=lambda each: str(each.created))
    name = f"[{ended.name}]({ended.link})" if ended.link else ended.name
    parts = [f"## {ended.deployment}: {ended.state}", name, ended.message, *map(_markdown, artifacts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ended(deployment: str, run: "FlowRun") -> Ended:
    from tasks.links import page_of

    state = run.state
    if state is None:
        raise TransientError(f"{deployment}: the run has no state.", "Try again.")
    return Ended(
        deployment=deployment,
        flow_run_id=run.id,
        name=run.name,
        state=str(state.name),
        message=state.message or "",
        link=page_of(run.id),
        exit_code=_exit_code(state.type, str(state.name), state.message or ""),
    )


def _exit_code(kind: str, name: str, message: str) -> int:
    """A failed run tells the class of its error in its message; a run that was cut off can be retried."""
    if kind == "COMPLETED":
        return REFUSED if name in {verdict.REFUSED, "Not approved"} else 0
    if kind != "FAILED":
        return INTERRUPTED
    if message.endswith("and never resumed."):  # Prefect's own end of a wait for a person
        return REFUSED
    return next((each.exit_code for each in _family(MlopsError) if f"{each.__name__}:" in message), 1)


def _family(error: type[MlopsError]) -> Iterator[type[MlopsError]]:
    for child in error.__subclasses__():
        yield child
        yield from _family(child)


def _show_logs(client: "SyncPrefectClient", run_id: UUID, seen: int) -> int:
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, LogFilterLevel
    from prefect.client.schemas.sorting import LogSort

    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]), level=LogFilterLevel(ge_=logging.INFO))
    lines = client.read_logs(chosen, limit=LOGS_AT_ONCE, offset=seen, sort=LogSort.TIMESTAMP_ASC)
    for line in lines:
        if line.name.startswith("lifecycle") or line.level >= logging.WARNING:
            logger.info("%s", line.message.strip().splitlines()[-1])
    return seen + len(lines)


def _value(schema: Mapping[str, Any], name: str, text: str) -> Any:
    """The first reading of a text that the form takes; else the text itself, which the server will refuse."""
    from jsonschema import Draft202012Validator

    field = schema["properties"].get(name, {})
    accepts = Draft202012Validator({"definitions": schema.get("definitions", {}), **field})
    readings = [text]
    with suppress(ValueError):
        readings.append(literal(text))
    return next((reading for reading in readings if accepts.is_valid(reading)), text)


def _markdown(artifact: "Artifact") -> str:
    import json

    if artifact.type == "table":
        rows = json.loads(str(artifact.data))
        head = list(rows[0]) if rows else []
        cells = [[str(row[name]).replace("|", "\\|").replace("\n", " ") for name in head] for row in rows]
        lines = [head, ["---"] * len(head), *cells]
        return f"{artifact.description or ''}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return str(artifact.data) if artifact.type == "markdown" else ""
