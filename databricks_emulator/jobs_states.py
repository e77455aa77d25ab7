"""How far a run is and how it ended, in both forms in which the service says so: `state` and, since 2.2, `status`."""

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from databricks.sdk.service.jobs import TerminationCodeCode

CODES = {code.value for code in TerminationCodeCode}
PHASES = {
    "QUEUED": "QUEUED",
    "PENDING": "PENDING",
    "BLOCKED": "BLOCKED",
    "RUNNING": "RUNNING",
    "WAITING_FOR_RETRY": "WAITING",
    "TERMINATING": "TERMINATING",
}
"""What `state.life_cycle_state` of an active run is called in `status.state`."""


class Outcome(NamedTuple):
    """The end of a run: `life_cycle_state` and `result_state` of `state`, `code` and `kind` of `status`."""

    life_cycle_state: str
    result_state: str
    code: str
    kind: str
    message: str = ""

    @property
    def succeeded(self) -> bool:
        return self.result_state == "SUCCESS"

    @property
    def was_stopped(self) -> bool:
        """Whether somebody or a time limit ended it, rather than it itself."""
        return self.result_state in {"CANCELED", "TIMEDOUT"}


SUCCESS = Outcome("TERMINATED", "SUCCESS", "SUCCESS", "SUCCESS")
CANCELED = Outcome("TERMINATED", "CANCELED", "USER_CANCELED", "CLIENT_ERROR", "Run cancelled.")
TIMEDOUT = Outcome("TERMINATED", "TIMEDOUT", "CANCELED", "CLIENT_ERROR", "Run timed out.")
TOO_MANY_RUNS = Outcome(
    "SKIPPED",
    "MAXIMUM_CONCURRENT_RUNS_REACHED",
    "MAX_CONCURRENT_RUNS_EXCEEDED",
    "CLIENT_ERROR",
    "An active run already exists and the maximum number of concurrent runs is reached.",
)
EXCLUDED = Outcome("SKIPPED", "EXCLUDED", "SKIPPED", "SUCCESS", "The condition of the task was not met.")
DISABLED = Outcome("SKIPPED", "DISABLED", "DISABLED", "SUCCESS", "The task is disabled.")
UPSTREAM_FAILED = Outcome("SKIPPED", "UPSTREAM_FAILED", "SKIPPED", "CLIENT_ERROR", "An upstream task failed.")
UPSTREAM_CANCELED = Outcome("SKIPPED", "UPSTREAM_CANCELED", "SKIPPED", "CLIENT_ERROR", "An upstream task was canceled.")
WORKLOAD_FAILED = Outcome(
    "TERMINATED", "FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR", "Workload failed, see run output for details"
)

PLATFORM_KINDS = {
    "INTERNAL_ERROR": "INTERNAL_ERROR",
    "DRIVER_ERROR": "INTERNAL_ERROR",
    "CLUSTER_ERROR": "CLOUD_FAILURE",
}
CLIENT_CODES = {"LIBRARY_INSTALLATION_ERROR", "RESOURCE_NOT_FOUND", "INVALID_RUN_CONFIGURATION"}


def failed(code: str, message: str = "") -> Outcome:
    """A run that could not do its work, for a reason that the service gives a code."""
    kind = "CLIENT_ERROR" if code in CLIENT_CODES else PLATFORM_KINDS.get(code, "CLOUD_FAILURE")
    return Outcome("INTERNAL_ERROR", "FAILED", code, kind, message or f"The run failed with {code}.")


def demanded(name: str) -> Outcome:
    """The outcome that a fault asks for; a name that no client knows is a state of a later release."""
    known = {"TIMEDOUT": TIMEDOUT, "CANCELED": CANCELED, "SUCCESS": SUCCESS, "FAILED": WORKLOAD_FAILED}
    if name in known:
        return known[name]
    return failed(name) if name in CODES else Outcome("TERMINATED", name, name, name)


def of_run(leaves: dict[str, Outcome], inner: dict[str, Outcome]) -> Outcome:
    """How a job run ends: its leaf tasks decide, and failures before them that led to none are mentioned."""
    bad = {key: outcome for key, outcome in leaves.items() if not _harmless(outcome)}
    if not bad:
        if all(_harmless(outcome) for outcome in inner.values()):
            return SUCCESS
        message = "Some tasks failed, all leaf tasks succeeded."
        return Outcome("TERMINATED", "SUCCESS_WITH_FAILURES", "SUCCESS_WITH_FAILURES", "SUCCESS", message)
    causes = {key: outcome for key, outcome in {**inner, **bad}.items() if not _harmless(outcome)}
    origins = {key: outcome for key, outcome in causes.items() if not outcome.result_state.startswith("UPSTREAM_")}
    key, first = next(iter((origins or causes).items()))
    if all(outcome.result_state == first.result_state and outcome.was_stopped for outcome in origins.values()):
        return first
    if first.life_cycle_state == "TERMINATED" and first.result_state not in {"FAILED", "TIMEDOUT", "CANCELED"}:
        return first
    message = f"Task {key} failed with message: {first.message}."
    return Outcome("INTERNAL_ERROR", "FAILED", first.code, first.kind, message)


def _harmless(outcome: Outcome) -> bool:
    return outcome.result_state in {"SUCCESS", "EXCLUDED", "DISABLED"}


def now() -> int:
    """The time in the service's unit, milliseconds."""
    return int(time.time() * 1000)


@dataclass
class Progress:
    """The phase of a run from when it was asked for to its end."""

    phase: str = "PENDING"
    outcome: Outcome | None = None
    asked: int = field(default_factory=now)
    began: int = 0
    ended: int = 0

    @property
    def active(self) -> bool:
        return self.outcome is None

    def enter(self, phase: str) -> None:
        """Reach a phase; what has ended stays as it is."""
        self.phase = phase if self.active else self.phase
        if phase == "RUNNING":
            self.began = now()

    def end(self, outcome: Outcome) -> None:
        self.outcome, self.phase, self.ended = outcome, outcome.life_cycle_state, now()

    def describe(self) -> dict[str, Any]:
        """The fields of a run that say how far it is."""
        execution = (self.ended or now()) - self.began if self.began else 0
        setup = (self.began or self.ended or now()) - self.asked
        times = {
            "start_time": self.asked,
            "setup_duration": setup,
            "execution_duration": execution,
            "cleanup_duration": 0,
            "end_time": self.ended,
        }
        return times | self.standing()

    def standing(self) -> dict[str, Any]:
        """`state` and `status`."""
        if self.outcome is None:
            state: dict[str, Any] = {
                "life_cycle_state": self.phase,
                "state_message": "In run" if self.phase == "RUNNING" else "",
                "user_cancelled_or_timedout": False,
            }
            status: dict[str, Any] = {"state": PHASES[self.phase]}
            if self.phase == "QUEUED":
                reason = "The maximum number of concurrent runs of the job is reached."
                state["queue_reason"] = reason
                status["queue_details"] = {"code": "MAX_CONCURRENT_RUNS_REACHED", "message": reason}
            return {"state": state, "status": status}
        end = self.outcome
        state = {
            "life_cycle_state": end.life_cycle_state,
            "result_state": end.result_state,
            "state_message": end.message,
            "user_cancelled_or_timedout": end.was_stopped,
        }
        details = {"code": end.code, "type": end.kind, "message": end.message}
        return {"state": state, "status": {"state": "TERMINATED", "termination_details": details}}
