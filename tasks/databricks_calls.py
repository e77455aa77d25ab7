"""Databricks' Jobs API through prefect-databricks' tasks, which neither retry nor renew a token by themselves."""

import asyncio
import importlib.util
import itertools
import logging
import math
import os
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from lifecycle.core.errors import ConfigError, ConflictError, MlopsError, NotFoundError, TransientError
from lifecycle.databricks import credentials as databricks
from lifecycle.databricks import refusals

logger = logging.getLogger("lifecycle.databricks")  # the name under which commands and Prefect show what steps say

Call = Callable[..., Coroutine[Any, Any, Any]]

RETRIED = {408, 429, 500, 502, 503, 504}
REFUSED = {401, 403}
PATIENCE_SECONDS = 300.0
"""How long a call is repeated while the workspace does not answer."""
REQUEST_SECONDS = 30
PAUSE_SECONDS, LONGEST_PAUSE = 0.5, 30.0
API = "/2.2/jobs"
OF_ALL_CLIENTS = {"proxy": ("HTTPS_PROXY",), "verify": ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")}
"""What a block says to httpx, by the variables that say the same to the other clients of a workspace."""
DELETED = re.compile(r"idempotency.token.* deleted", re.IGNORECASE)


class DeletedRunError(NotFoundError):
    """A run was started with the same token before, and somebody has deleted it."""


def require_extra() -> None:
    """Check that the integration is there; without it everything else works.

    Raises:
        ConfigError: The extra `databricks` is not installed.
    """
    if importlib.util.find_spec("prefect_databricks") is None:
        what = "The platform databricks needs prefect-databricks, which is not installed."
        raise ConfigError(what, "Install it: pip install 'mlops-lifecycle[prefect,databricks]'")


_client: dict[str, Any] = {}
"""What the block of this process's identity says about its client: a proxy, the file of an authority, a time."""


def sign_in(block: str) -> None:
    """Make the credentials of a Prefect block those of the process, where MLflow and the Files API look for them too.

    So do its proxy and its authority, where the block's `client_kwargs` name them.

    Raises:
        ConfigError: There is no such block, or it wants no certificate to be checked, which the other clients do.
    """
    require_extra()
    from prefect_databricks import DatabricksCredentials

    try:
        held: Any = DatabricksCredentials.load(block)
    except ValueError as error:
        what = f"Prefect has no block databricks-credentials/{block}: {error!s:.200}."
        raise ConfigError(what, "Make it in Prefect's UI, or correct the setting databricks.credentials.") from None
    kwargs = held.client_kwargs or {}
    if kwargs.get("verify") is False:
        what = f"Block {block} turns off the check of certificates, which MLflow's client would make all the same."
        raise ConfigError(what, 'Name the file of the authority in its client_kwargs: {"verify": "/…/ca.pem"}')
    databricks.sign_in(_identity(held))
    _client.clear()
    _client.update(kwargs)
    for name, variables in OF_ALL_CLIENTS.items():
        if isinstance(value := _client.get(name), str):
            os.environ.update(dict.fromkeys(variables, value))


def _identity(held: Any) -> dict[str, str]:
    """What a block holds, by the names that Databricks' clients know."""
    identity = {"DATABRICKS_HOST": f"https://{held.databricks_instance.removeprefix('https://').rstrip('/')}"}
    if held.token:
        return identity | {"DATABRICKS_TOKEN": held.token.get_secret_value()}
    family = "ARM" if held.tenant_id else "DATABRICKS"
    identity |= {
        f"{family}_CLIENT_ID": held.client_id,
        f"{family}_CLIENT_SECRET": held.client_secret.get_secret_value(),
    }
    if held.tenant_id:
        identity |= {"ARM_TENANT_ID": held.tenant_id, "DATABRICKS_AUTH_TYPE": "azure-client-secret"}
    return identity


class Workspace:
    """The Jobs API of the workspace that the process is signed in to; every call is repeated while it may be cured."""

    def __init__(self, uri: str) -> None:
        require_extra()
        self._uri = uri
        # An event loop can lose an exception that a signal handler raises; a wait for a thread cannot. One thread:
        # what is called after an interrupted call comes after it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="databricks")

    def call(self, function: Call, *, until: float = math.inf, needs: str = "", **arguments: Any) -> dict[str, Any]:
        """Call a task's function with fresh credentials, again and again while waiting may help, at most `until`.

        What is no answer of the workspace (the page of a login, half a body, a redirect) is asked for again. Where the
        workspace says how long to wait, it is there: then only `until` ends the patience, and the call is made once
        more at that moment.

        Args:
            function: The task's function.
            until: The moment of the last attempt.
            needs: The field without which an answer is none.
            arguments: What the function takes.

        Raises:
            MlopsError: The kind that the answer means; `TransientError` if there was none in time.
        """
        patience, renewed = time.monotonic() + PATIENCE_SECONDS, False
        for attempt in itertools.count():
            try:
                return _documented(self._thread.submit(self._once, function, arguments, anew=renewed).result(), needs)
            except (httpx.HTTPError, TransientError) as error:
                if _status(error) in REFUSED and not renewed:
                    renewed = True  # a token can end before its time
                    continue
                if not _is_curable(error):
                    raise _meaning(error) from None
                pause = _pause(error, attempt, until, patience)
                if pause is None:
                    raise TransientError(f"Databricks did not answer: {_said(error)}.", "Try again.") from None
                logger.warning("Databricks did not answer (%s); again in %.1f s", _said(error), pause)
            time.sleep(pause)
        raise AssertionError

    def _once(self, function: Call, arguments: dict[str, Any], *, anew: bool) -> Any:
        from prefect_databricks import DatabricksCredentials

        host, token = databricks.access(self._uri, anew=anew)
        credentials = DatabricksCredentials(
            databricks_instance=host, token=token, client_kwargs={"timeout": REQUEST_SECONDS} | _client
        )
        return asyncio.run(function(databricks_credentials=credentials, **arguments))

    def get(self, path: str, *, until: float = math.inf, **params: Any) -> Any:
        """Read what prefect-databricks has no task for, or only one without pages."""
        return self.call(_endpoint, until=until, path=f"{API}/{path}", method="get", params=params)

    def post(self, path: str, body: dict[str, Any], *, until: float = math.inf, needs: str = "") -> Any:
        """Send what prefect-databricks' own task would leave out."""
        return self.call(_endpoint, until=until, needs=needs, path=path, method="post", json=body)

    def job_id(self, name: str) -> int:
        """The id of the only job of a name.

        Raises:
            NotFoundError: There is none.
            ConfigError: There are several.
        """
        from prefect_databricks.jobs import jobs_list

        found = self.call(jobs_list.fn, name=name).get("jobs", ())
        ids = [job["job_id"] for job in found if job.get("settings", {}).get("name") == name]
        if not ids:
            raise NotFoundError(f"The workspace has no job named {name!r}.", "Deploy the jobs: mlops databricks deploy")
        if len(ids) > 1:
            what = f"The workspace has {len(ids)} jobs named {name!r}: {', '.join(map(str, sorted(ids)))}."
            raise ConfigError(what, "Delete the others, or name yours in the setting databricks.jobs.")
        return int(ids[0])

    def runs(self, *, limit: int = 25, pages: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Runs, the newest first."""
        token: str | None = None
        for _ in itertools.count() if pages is None else range(pages):
            page = self.get("runs/list", limit=limit, page_token=token, **params)
            yield from page.get("runs", ())
            if not (token := page.get("next_page_token")):
                return


async def _endpoint(
    databricks_credentials: Any,
    path: str,
    method: str,
    params: dict[str, Any] | None = None,
    json: dict[str, Any] | None = None,
) -> Any:
    """prefect-databricks' generic call, which itself does not look at the status."""
    from prefect_databricks.rest import HTTPMethod, execute_endpoint

    answer = await execute_endpoint.fn(path, databricks_credentials, HTTPMethod(method), params=params, json=json)
    answer.raise_for_status()
    try:
        return answer.json()
    except ValueError:
        return answer.content


def _documented(answer: Any, needs: str) -> dict[str, Any]:
    """An answer that is the JSON which the documentation promises.

    Raises:
        TransientError: It is something else: a proxy or a single sign-on has answered, or the line went dead.
    """
    if isinstance(answer, dict) and (not needs or needs in answer):
        return answer
    if isinstance(answer, dict):
        raise TransientError(f"its answer lacks {needs}: {answer!s:.80}")
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
    raise TransientError(f"no JSON, as from the page of a login: {text[:80]!r}")


def _is_curable(error: Exception) -> bool:
    """Whether waiting may help: what was sent elsewhere or got no answer is no refusal of the workspace."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in RETRIED or error.response.is_redirect
    return "CERTIFICATE_VERIFY_FAILED" not in str(error)


def _pause(error: Exception, attempt: int, until: float, patience: float) -> float | None:
    """The seconds to wait before the next attempt, or None if there is no time for one."""
    now, backoff = time.monotonic(), min(LONGEST_PAUSE, PAUSE_SECONDS * 2**attempt)
    asked = error.response.headers.get("Retry-After", "") if isinstance(error, httpx.HTTPStatusError) else ""
    if asked.isdecimal() and until < math.inf:
        return min(max(float(asked), backoff), until - now) if now < until else None
    pause = max(float(asked), backoff) if asked.isdecimal() else backoff
    return pause if now + pause < min(until, patience) else None


def _status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None


def _said(error: Exception) -> str:
    """What the workspace said, in its own words if it sent any."""
    if isinstance(error, TransientError):
        return error.what
    if not isinstance(error, httpx.HTTPStatusError):
        return f"{type(error).__name__} {error!s:.200}".strip().rstrip(".")
    try:
        body = error.response.json()
        words = f"{body.get('error_code', '')} {body.get('message', '')}"
    except (ValueError, AttributeError):
        words = error.response.reason_phrase
    return f"{error.response.status_code} {words.strip()[:300]}".rstrip(".")


def _meaning(error: Exception) -> MlopsError:
    """The error of ours that a refusal is, with the grant or the setting that its words name."""
    said, status = _said(error), _status(error)
    what, fix = f"Databricks refused the call: {said}.", refusals.way_out(said)
    if DELETED.search(said):
        return DeletedRunError(what, "Start the flow again.")
    if status in REFUSED:
        return ConfigError(what, fix or "Check the credentials and the grants.")
    if status == 404 or "does not exist" in said:
        what = f"Databricks does not know it: {said}."
        return NotFoundError(what, fix or "Look in the workspace, or deploy the jobs again.")
    if status == 409:
        return ConflictError(what, fix or "Look at the run, then try again.")
    return ConfigError(what, fix or "Correct the job or the request.")
