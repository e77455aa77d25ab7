"""`mlops runs`: the trainings of a model, the best first."""

from typing import TYPE_CHECKING

from pydantic import Field

from cli import console, options, runner, show
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.registry import leaderboard
from lifecycle.registry.leaderboard import Wanted
from lifecycle.settings.gate_rules import LOWER

if TYPE_CHECKING:
    from lifecycle.registry.leaderboard import TrainingLine
    from lifecycle.settings import Settings

SHOWN, DIGITS = 2, 8
"""Metrics that are shown, and digits of a run's id, which every command takes for it."""
NEWEST = "at"


class RunsRequest(Form):
    """Which trainings, in which order."""

    model_name: options.ModelName
    env: Environment = Field(Environment.DEV, description="Environment whose verdicts are shown.")
    sort: str = Field(
        "", description="Metric to sort by, the best first; or at, the newest first; default what decides."
    )
    last: int = Field(20, description="So many of the latest trainings.", gt=0, le=leaderboard.MOST)
    algorithm: str | None = Field(None, description="Only this algorithm.")
    data_name: str | None = Field(None, description="Only trainings on this dataset.")
    data_version: str | None = Field(None, description="Only trainings on this version of it.")


@options.of_request
def runs(request: RunsRequest, as_json: options.Json = False) -> None:
    """List the trainings of a model, the best first: parameters, metrics, verdicts.

    Example: mlops runs --model-name sentiment --sort f1.negative --last 10
    """
    runner.existing(request.env, request.model_name)
    config = settings.load(request.env, model_name=request.model_name)
    wanted = Wanted(algorithm=request.algorithm, data_name=request.data_name, data_version=request.data_version)
    lines = leaderboard.trainings(config, request.model_name, wanted, request.last)
    if not lines and not as_json:
        console.echo(f"No training of {request.model_name} is there. Make one: mlops train")
        return
    names = _names(lines)
    if request.sort != NEWEST and (by := request.sort or next(iter(names), "")):
        _require_metric(by, lines)
        lines = leaderboard.best_first(lines, by, more_is_better=_more_is_better(config, by))
        names = list(dict.fromkeys([by, *names]))
    if as_json:
        show.print_json(lines)
    else:
        _show(lines, names[:SHOWN], request)


def _names(lines: "list[TrainingLine]") -> list[str]:
    """The metrics to show: those of the newest training that was judged, else of the newest."""
    judged = [line for line in lines if line.decision and line.metrics]
    return list(next(iter([*judged, *lines])).metrics) if lines else []


def _require_metric(name: str, lines: "list[TrainingLine]") -> None:
    known = sorted({metric for line in lines for metric in line.metrics})
    if known and name not in known:
        raise ConfigError(f"No training has the metric {name!r}.", f"--sort {NEWEST}, or one of: {', '.join(known)}")


def _more_is_better(config: "Settings", metric: str) -> bool:
    try:
        return config.gate.more_is_better(metric)
    except ValueError:  # one of an earlier definition of the gate
        return metric not in LOWER


def _show(lines: "list[TrainingLine]", names: list[str], request: RunsRequest) -> None:
    rows = [
        (
            line.run_id[:DIGITS],
            f"{line.at:%m-%d %H:%M}",
            line.algorithm,
            ", ".join(f"{name}={value}" for name, value in line.params.items()),
            line.dataset,
            *(_metric(line, name) for name in names),
            _fate(line),
        )
        for line in lines
    ]
    columns = ("run", "at (UTC)", "algorithm", "parameters", "dataset", *names, f"verdict in {request.env}")
    show.table(columns, rows, f"Trainings of {request.model_name}")
    if any(not line.decision for line in lines):
        console.echo("~ was measured on the test rows of its training, and not judged.")
    if len(lines) > 1:
        console.echo(f"Two of them on the same rows: mlops compare {lines[0].run_id[:DIGITS]} {_other(lines)}")


def _other(lines: "list[TrainingLine]") -> str:
    """What the first one is worth comparing with: the champion, unless it is that itself."""
    champions = [env for line in lines[1:] for env in line.champion_of]
    return str(champions[-1]) if champions else lines[1].run_id[:DIGITS]


def _metric(line: "TrainingLine", name: str) -> str:
    from lifecycle.gate.present.rows import interval, number

    if name in line.intervals:
        return interval(line.intervals[name])
    return f"~ {number(line.metrics[name])}" if name in line.metrics else ""


def _fate(line: "TrainingLine") -> str:
    if line.status != "FINISHED":
        return line.status.lower()
    champion = f"champion of {show.and_(line.champion_of)}" if line.champion_of else ""
    return ", ".join(filter(None, (line.decision or "not judged", champion)))
