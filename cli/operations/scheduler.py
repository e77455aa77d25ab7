"""Whether the scheduler of Prefect's server does its work: what has an active schedule has a run to come.

`mlops status` asks this too, so this module imports only what costs milliseconds while all is well.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from cli import environment
from cli.operations import connection, state
from cli.operations.state import Service
from lifecycle.core.errors import TransientError

Ask = Callable[[str, str, Mapping[str, Any] | None], Any]
"""Sends method, path and body to the API of a server and returns its answer; None if it knows no such path."""

LOOP_SECONDS = 60.0
"""How often the scheduler of a server looks, unless the server says something else."""
HORIZON = timedelta(days=100)
"""How far ahead it schedules."""
PAGE = 200
NAMED = 3


def check(home: Path) -> str | None:
    """Ask the server that commands of this state use, and return its address; None if there is none.

    Raises:
        ConfigError: The environment names one that cannot be used, or that does not let us in.
        TransientError: It does not answer, or its scheduler is failing.
    """
    if not (environment.chosen_server() or state.api_url(home)):
        return None
    address = connection.connect(home)
    stack = state.read(home)
    service = stack.service("prefect") if stack and state.login(home, address) else None
    with connection.client() as client:
        require_runs(lambda *request: _answer(client, *request), address, service)
    return address


def require_runs(ask: Ask, address: str, service: Service | None) -> None:
    """Return if the server has a run to come for each active schedule, or has not had the time to make one.

    Args:
        ask: How the server is asked.
        address: Where it is, for the message.
        service: Its process, if `mlops up` runs it.

    Raises:
        TransientError: Its scheduler is failing.
    """
    names = _without_runs(ask, service.created if service else 0)
    if not names:
        return
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    what = f"The scheduler of {address} is failing: {', '.join(names[:NAMED])}{more} "
    what += "should run by an active schedule, but no run is to come."
    if service is None:
        raise TransientError(what, "Look at the log of the server's background services, and start them anew.")
    switch = "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED"
    fix = f"See {service.log}, install the versions of constraints.txt, unset {switch}; then: mlops down, mlops up"
    raise TransientError(f"{what}{_last_error(service.log)}", f"{fix} --detach")


def _without_runs(ask: Ask, created: float) -> list[str]:
    """The deployments that should have a run to come and have none, by name."""
    values = (ask("GET", "/admin/settings", None) or {}).get("server", {}).get("services", {}).get("scheduler", {})
    long_ago = datetime.now(UTC) - timedelta(seconds=2 * float(values.get("loop_seconds", LOOP_SECONDS)))
    if datetime.fromtimestamp(created, UTC) > long_ago:
        return []
    due = [each for each in _deployments(ask) if _has_waited(each, long_ago) and not _planned(ask, each["id"])]
    late = [each for each in due if any(_is_due(entry["schedule"]) for entry in each["schedules"] if entry["active"])]
    chosen = {"flows": {"id": {"any_": [each["flow_id"] for each in late]}}}
    flows = {flow["id"]: f"{flow['name']}/" for flow in ask("POST", "/flows/filter", chosen) or ()} if late else {}
    return sorted(f"{flows.get(each['flow_id'], '')}{each['name']}" for each in late)


def _deployments(ask: Ask) -> Iterator[dict[str, Any]]:
    """Those that are tagged `mlops` and not paused, as the server tells them."""
    tagged = {"tags": {"all_": ["mlops"]}}
    for offset in count(0, PAGE):
        page = ask("POST", "/deployments/filter", {"deployments": tagged, "limit": PAGE, "offset": offset}) or []
        yield from (each for each in page if not each["paused"])
        if len(page) < PAGE:
            return


def _has_waited(deployment: Mapping[str, Any], long_ago: datetime) -> bool:
    """Whether one of its schedules was active that long ago already."""
    active = (datetime.fromisoformat(entry["updated"]) for entry in deployment["schedules"] if entry["active"])
    return any(since < long_ago for since in active)


def _planned(ask: Ask, deployment: str) -> bool:
    """Whether a run is to come; also if the server does not answer."""
    to_come = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"after_": str(datetime.now(UTC))}}
    chosen = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": to_come}
    return bool(ask("POST", "/flow_runs/count", chosen) != 0)


def _is_due(schedule: Mapping[str, Any]) -> bool:
    """Whether a run must be there: a schedule that is over, or whose next time is far off, has none."""
    environment.import_prefect(Path(__file__).parent)
    from prefect.server.schemas.schedules import SCHEDULE_TYPES
    from pydantic import TypeAdapter

    now = datetime.now(UTC)
    found = TypeAdapter(SCHEDULE_TYPES).validate_python(schedule)
    return bool(asyncio.run(found.get_dates(n=1, start=now, end=now + HORIZON)))


def _last_error(log: Path) -> str:
    """What the server's log says last of an error, as a sentence; empty if it says nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    errors = [line.strip() for line in lines if "Error" in line.partition(":")[0].rpartition(".")[2]]
    return f" It last said: {errors[-1]:.200}." if errors else ""


def _answer(client: Any, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
    import httpx

    try:
        return client.request(method, path, json=body).json()
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise
        return None  # Prefect Cloud does not tell its settings
