"""Changes of a champion wait for each other; without the limit the promotion log decides."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from lifecycle.core.errors import LostRaceError, TransientError
from lifecycle.core.references import ModelRef
from lifecycle.registry import promotion, store
from lifecycle.registry.promotion import Intent
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings
from tasks import limits


@pytest.fixture
def target(config: Settings, request: pytest.FixtureRequest) -> Target:
    """A model of its own, since the server keeps the limits of every test."""
    return target_of(config, request.node.name.lower()[:60])


def intent(target: Target, name: str) -> Intent:
    now = promotion.read_log(target)
    model = ModelRef(tracking_uri=target.tracking_uri, uri=f"file:///models/{name}", run_id="", artifact_sha256=name)
    return Intent(target=target, model=model, expected=now.champion, head=now.head, reason=name)


@flow
def promote(target: Target, name: str, holding: threading.Event, go: threading.Event) -> None:
    """Decide against the champion of the moment, then wait, then promote."""
    with limits.one_promotion(target):
        decided = intent(target, name)
        holding.set()
        assert go.wait(60)
        promotion.promote(decided)


class Promoter(threading.Thread):
    """A flow run in a thread of its own, and how it ended."""

    def __init__(self, target: Target, name: str) -> None:
        super().__init__(daemon=True)
        self.arguments = (target, name)
        self.holding, self.go = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            promote(*self.arguments, self.holding, self.go)
        except BaseException as error:
            self.error = error


def test_the_second_promotion_of_a_model_waits_for_the_first(target: Target) -> None:
    first = Promoter(target, "first")
    assert first.holding.wait(60)
    second, other = Promoter(target, "second"), Promoter(target.named(f"{target.name}-other"), "third")
    assert other.holding.wait(60)  # another model does not wait
    assert not second.holding.wait(3)
    first.go.set()
    assert second.holding.wait(60)
    second.go.set()
    other.go.set()
    for each in (first, second, other):
        each.join(60)
        assert each.error is None
    assert [version.version for version in store.versions(target)] == [1, 2]
    assert promotion.read_log(target).champion == 2


def test_if_the_limit_is_lost_the_log_still_lets_one_win(target: Target) -> None:
    first = Promoter(target, "first")
    assert first.holding.wait(60)
    with get_client(sync_client=True) as client:
        client.delete_global_concurrency_limit_by_name(limits.limit_name(target))
    second = Promoter(target, "second")
    assert second.holding.wait(60)  # both hold what they believe is the only slot
    second.go.set()
    second.join(60)
    first.go.set()
    first.join(60)
    assert second.error is None
    assert isinstance(first.error, LostRaceError)
    assert promotion.read_log(target).champion == 1


def test_who_waits_too_long_is_told_whom_for(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Promoter(target, "first")
    assert first.holding.wait(60)
    monkeypatch.setattr(limits, "WAIT_SECONDS", 1)
    second: Any = Promoter(target, "second")
    second.join(60)
    assert isinstance(second.error, TransientError)
    assert f"prefect gcl inspect {limits.limit_name(target)}" in str(second.error)
    first.go.set()
    first.join(60)


def test_who_is_alone_waits_for_nobody(target: Target) -> None:
    first = Promoter(target, "first")
    assert first.holding.wait(60)
    with limits.alone(), limits.one_promotion(target):
        promotion.promote(intent(target, "second"))
    first.go.set()
    first.join(60)
    assert isinstance(first.error, LostRaceError)


def test_an_error_frees_the_slot(target: Target) -> None:
    with pytest.raises(ZeroDivisionError), limits.one_promotion(target):
        raise ZeroDivisionError
    with limits.one_promotion(target):
        pass


class Busy(BaseHTTPRequestHandler):
    """Prefect's server, where the database is locked when a slot is first asked for."""

    behind, refusals = "", 2

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/increment-with-lease") and type(self).refusals:
            type(self).refusals -= 1
            self.send_response(503)
            self.end_headers()
            return
        headers = {"Content-Type": "application/json"}
        found = httpx.request(self.command, f"{self.behind}{self.path}", content=body, headers=headers)
        self.send_response(found.status_code)
        self.send_header("Content-Length", str(len(found.content)))
        self.end_headers()
        self.wfile.write(found.content)

    do_GET = do_PUT = do_PATCH = do_POST  # noqa: N815  as the library calls them

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def test_a_server_that_is_too_busy_to_give_a_slot_is_asked_again(
    target: Target, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    Busy.behind = server.removesuffix("/api")
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{proxy.server_port}/api"
        with (
            temporary_settings({PREFECT_API_URL: address, PREFECT_CLIENT_MAX_RETRIES: 0}),
            limits.one_promotion(target),
            get_client(sync_client=True) as client,
        ):
            held = client.read_global_concurrency_limit_by_name(limits.limit_name(target)).active_slots
        proxy.shutdown()
    assert (held, Busy.refusals) == (1, 0)
    assert caplog.text.count("asking again") == 2
