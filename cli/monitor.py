"""`mlops monitor …`: how production differs from what a version was judged on, alerts, labels that come later."""

import os
import sys
import webbrowser
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import console, monitor_run, options, runner, show
from flows.request import Form, TableForm
from lifecycle import settings
from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.core.names import Environment
from lifecycle.core.writer_process import name_the_user
from lifecycle.monitoring import probation, standings
from lifecycle.monitoring.findings import Alert, Line, Measured, Silence
from lifecycle.settings import Settings, definitions

if TYPE_CHECKING:
    from lifecycle.evaluation.estimates import Check
    from lifecycle.monitoring.labels import Joined
    from lifecycle.monitoring.trust import Batch, Trust

app = typer.Typer(help="Production: drift, performance, alerts, labels that come later.", no_args_is_help=True)
monitor_run.add_to(app)

PROD = Environment.PROD
ALERT = 8
SHOWN = 10
"""Batches in a table, and things that were measured of the last one."""
UNMEASURED = {"estimate", "example"}
UNITS = {"seconds": "s for 1,000 rows", "p50": "ms (p50)", "p95": "ms (p95)", "p99": "ms (p99)"}


@app.command()
def baseline(
    model_name: options.ModelName,
    version: options.Version = None,
    env: options.Env = PROD,
    as_json: options.Json = False,
) -> None:
    """Show what batches of a version are compared with; one that has none gets it from what it was judged on.

    Example: mlops monitor baseline --model-name sentiment --env prod
    """
    from lifecycle.monitoring import watch
    from lifecycle.registry import catalog

    target = runner.registered(env, model_name)
    model = catalog.resolve(target, version=version)
    found = watch.baseline_of(model, settings.load(env).datasets, complete=True)
    if as_json:
        show.print_json({"model": model.name, "version": model.version, "digest": found.digest, "baseline": found})
        return
    where = f"{found.data_name} {found.data_version} {found.side}"
    console.echo(f"{model.label}: {found.rows:,} rows of {where}, {found.digest[:12]}")
    rows = [
        (each.part, each.name, f"{each.rows:,}", f"{each.missing:,}", len(each.counts)) for each in found.distributions
    ]
    show.table(("part", "what", "rows", "missing", "bins or levels"), rows)
    checks = found.learnt.checks if found.learnt else {}
    metrics = [(name, f"{value:.4g}", *_checked(checks.get(name))) for name, value in found.metrics.items()]
    show.table(("metric", "value", "estimated", "it was", "holds"), metrics)


@app.command("show")
def show_(model_name: options.ModelName, env: options.Env = PROD, as_json: options.Json = False) -> None:
    """Show what was measured of the latest batches, and of the last one what is farthest from its baseline.

    Example: mlops monitor show --model-name sentiment --env prod
    """
    from lifecycle.monitoring import store, trust
    from lifecycle.monitoring.examples import with_keys

    config, name = _place(env, model_name)
    standing, watched = standings.read(config.measurements, name), probation.read(config.measurements, name)
    alerts = [with_keys(alert, config.predictions) for alert in standing.alerts]
    standing = standing.model_copy(update={"alerts": tuple(alerts)})
    drift, performance = store.history(config.measurements, name, config.monitoring)
    said = trust.statements(drift, performance, config.monitoring)
    if as_json:
        trusted = [{"version": key[0], "batch": key[1], **found.model_dump()} for key, found in said.items()]
        shown = {"drift": drift[-SHOWN:], "performance": performance[-SHOWN:], "trust": trusted[-SHOWN:]}
        show.print_json({"standing": standing, "probation": watched} | shown)
        return
    answered = {(each.version, each.batch): each for each in performance}
    show.table(
        ("day", "version", "batch", "rows", "rejected", "beyond", "farthest", "performance", "estimated", "trust"),
        [_row(each, answered, said) for each in drift[-SHOWN:]],
        name,
    )
    if last := said.get((drift[-1].version, drift[-1].batch)):
        console.echo(f"The estimate of the last batch: {last.told}.")
    _farthest(drift[-1])
    for alert in standing.alerts:
        console.echo(f"ALERT {alert.id}: {alert.told}")
    if watched:
        console.echo(f"Probation: {watched.told}")


@app.command()
def report(
    model_name: options.ModelName,
    env: options.Env = PROD,
    html: Annotated[Path | None, typer.Option("--html", help="File to write; default in the state folder.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write the page of a model: metrics over time, alerts and promotions, drift by column, slices, worst rows.

    Example: mlops monitor report --model-name sentiment --env prod --html sentiment.html
    """
    from lifecycle.monitoring import report as pages
    from lifecycle.registry import catalog

    config, name = _place(env, model_name)
    history = pages.gathered(config.measurements, name, config.monitoring, config.predictions)
    champions: list[Any] = []
    with suppress(NotFoundError):  # it was deleted since
        champions = pages.promotions(catalog.history(runner.registered(env, model_name)))
    path = html or config.state / "reports" / f"monitoring-{name}.html"
    show.write_page(path, pages.render(history._replace(promotions=champions)))
    if as_json:
        show.print_json({"file": str(path.absolute())})
    if open_ and not webbrowser.open(path.absolute().as_uri()):
        sys.stderr.write("There is no browser here; open the file yourself.\n")


@app.command()
def check(model_name: options.ModelName, env: options.Env = PROD, as_json: options.Json = False) -> None:
    """Tell whether an alert is open that nobody has silenced: then the exit code is 8.

    Example: mlops monitor check --model-name sentiment --env prod
    """
    from lifecycle.monitoring import store
    from lifecycle.monitoring.examples import with_keys

    config, name = _place(env, model_name)
    standings.read(config.measurements, name)
    standing = store.refresh(config.measurements, name, config.monitoring)
    alerts = tuple(with_keys(alert, config.predictions) for alert in (standing.alerts if standing else ()))
    silenced = {alert.id: found for alert in alerts if (found := standings.silenced(config.measurements, alert))}
    if as_json:
        show.print_json({"alerts": alerts, "silenced": list(silenced.values())})
    else:
        stood = probation.read(config.measurements, name)
        option = f"--model-name {model_name} --env {env}"
        _tell(alerts, silenced, option, is_first=stood is not None and stood.previous == 0)
    if len(silenced) < len(alerts):
        raise typer.Exit(ALERT)


@app.command()
def ack(
    model_name: options.ModelName,
    reason: Annotated[str, typer.Option("--reason", help="Why it may be silent; it is kept.")],
    alert: Annotated[
        str | None, typer.Option("--alert", help="The beginning of its name, if several are open.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="For so long; then it is an alert again.")] = 7,
    env: options.Env = PROD,
    as_json: options.Json = False,
) -> None:
    """Silence an open alert for some days, with a reason.

    Example: mlops monitor ack --model-name sentiment --reason "new customers; retraining" --days 14
    """
    from lifecycle.monitoring import store

    config, name = _place(env, model_name)
    found = _one(standings.read(config.measurements, name).alerts, alert, f"--model-name {model_name} --env {env}")
    if not reason.strip():
        raise ConfigError("An alert is silenced with a reason.", "Give one: --reason '…'")
    name_the_user()
    by = os.environ.get("USER", "")
    silence = Silence(alert=found.id, reason=reason, by=by, until=datetime.now(UTC) + timedelta(days=days))
    store.silence(config.measurements, name, silence)
    show.print_json(silence) if as_json else console.echo(
        f"{found.id} is silent until {silence.until:%Y-%m-%d %H:%M} UTC."
    )


class LabelsRequest(Form, TableForm):
    """A table of labels, and which of its columns are what."""

    model_name: options.ModelName
    source: Annotated[str, typer.Option("--input", help="Table of keys and labels.", callback=options.sealed)]
    key_column: Annotated[
        str | None, typer.Option("--key-column", help="Column of the keys; default that of the model's batches.")
    ] = None
    label_column: Annotated[
        str | None,
        typer.Option("--label-column", help="Column of the labels; default the target of the model's table."),
    ] = None
    slice_column: Annotated[
        list[str] | None, typer.Option("--slice-column", help="Column of the same table that makes slices; repeatable.")
    ] = None
    env: options.Env = PROD


@app.command()
@options.of_request
def labels(request: LabelsRequest, as_json: options.Json = False) -> None:
    """Join labels that came later to what was predicted, and measure each batch that they are about.

    Example: mlops monitor labels --model-name bikes --input counted.csv --key-column instant --label-column cnt
    """
    from lifecycle.monitoring import labels as later

    target = runner.registered(request.env, request.model_name)
    config = settings.load(request.env, model_name=request.model_name)
    definition = definitions.chosen(request.model_name)[1]
    usual_key = definition.row_key if definition else None
    usual_label = definition.data.target if definition else None
    delivery = settings.checked(
        later.Delivery,
        name=target.name,
        tracking_uri=target.tracking_uri,
        registry_uri=target.registry_uri,
        root=config.measurements,
        output_root=config.predictions,
        data_root=config.datasets,
        source=request.at(request.source),
        key_column=_given(request.key_column or usual_key, "--key-column"),
        label_column=_given(request.label_column or usual_label, "--label-column"),
        slice_columns=tuple(request.slice_column or ()),
        data=config.data,
        gate=config.gate,
        rules=config.monitoring,
    )
    joined = later.join(delivery)
    show.print_json(joined) if as_json else _joined(joined, target.name)


def _farthest(batch: Measured) -> None:
    """What of a batch is farthest from its baseline."""
    lines = sorted((line for line in batch.lines if line.part not in UNMEASURED), key=lambda line: -line.share)
    rows = [
        (line.name, line.measure, f"{line.value:.3g}", _limit(line), _number(line.p), f"{line.rows:,}", _yes(line))
        for line in lines[:SHOWN]
    ]
    show.table(("what", "measure", "value", "limit", "p", "rows", "beyond"), rows, f"The last batch, {batch.batch}")
    pace = ", ".join(f"{line.value:.3g} {UNITS.get(line.measure, line.measure)}" for line in _pace(batch))
    if pace:
        console.echo(f"Time that it took: {pace}.")


def _pace(batch: Measured) -> list[Line]:
    return [line for line in batch.lines if line.part == "latency"]


def _limit(line: Line) -> str:
    return f"{line.limit:.3g}" if line.limit else ""


def _checked(check: "Check | None") -> tuple[str, str, str]:
    """How well a metric of folds of the baseline was estimated by the other folds."""
    return (
        (f"{check.estimated:.4g}", f"{check.realised:.4g}", "yes" if check.holds else "no") if check else ("", "", "")
    )


def _place(env: Environment, model_name: str) -> tuple[Settings, str]:
    config = settings.load(env, model_name=model_name)
    return config, config.registered_name(model_name)


def _given(value: str | None, option: str) -> str:
    if not value:
        raise ConfigError(
            f"{option} is missing, and no definition of the model says it.", "See: mlops monitor labels --help"
        )
    return value


def _one(alerts: tuple[Alert, ...], wanted: str | None, which: str) -> Alert:
    """The alert that is meant: the one whose name begins so, else the only open one."""
    found = [alert for alert in alerts if alert.id.startswith(wanted or "")]
    if len(found) == 1:
        return found[0]
    if not alerts:
        raise NotFoundError("No alert is open.", f"See: mlops monitor show {which}")
    there = ", ".join(alert.id for alert in alerts)
    fix = f"Name one of them: --alert …; see: mlops monitor check {which}"
    raise NotFoundError(f"No single alert is meant; open are: {there}.", fix)


def _tell(alerts: tuple[Alert, ...], silenced: dict[str, Silence], option: str, *, is_first: bool) -> None:
    """Each alert with what to do; there is no way back from a first champion."""
    for alert in alerts:
        console.echo(f"ALERT {alert.id}: {alert.told}")
        if found := silenced.get(alert.id):
            by = f" by {found.by}" if found.by else ""  # in a container nobody may have a name
            console.echo(f"  silenced{by} until {found.until:%Y-%m-%d %H:%M} UTC: {found.reason}")
            continue
        console.echo(f"  what was measured:  mlops monitor show {option}")
        console.echo(f"  the same as a page:  mlops monitor report {option} --open")
        if not is_first:
            reason = f"--reason '{alert.kind} since {alert.since}'"
            console.echo(f"  back to the champion before:  mlops rollback {option} {reason}")
        console.echo(f"  seen, and silent for a week:  mlops monitor ack {option} --alert {alert.id} --reason '…'")
    if not alerts:
        console.echo("No alert is open.")


def _row(batch: Measured, answered: "dict[Batch, Measured]", said: "dict[Batch, Trust]") -> tuple[Any, ...]:
    key = batch.version, batch.batch
    worst = max((line for line in batch.lines if line.part not in UNMEASURED), key=lambda line: line.share)
    estimate = next((line for line in batch.lines if line.part == "estimate" and line.measure == "loss"), None)
    rejected = next((line.value for line in batch.lines if line.measure == "rejected"), 0.0)
    told = f"{worst.name} {worst.measure} {worst.value:.3g}" if worst.share > 0 else ""
    return (
        batch.day,
        batch.version,
        batch.batch,
        f"{batch.rows_in:,}",
        f"{rejected:.1%}",
        len(batch.beyond),
        told,
        ", ".join(_metric(line) for line in answered[key].lines[:1]) if key in answered else "",
        _metric(estimate) if estimate else "",
        said[key].verdict if key in said else "",
    )


def _metric(line: Line) -> str:
    return f"{line.name} {_number(line.now)} [{_number(line.low)}, {_number(line.high)}]"


def _joined(joined: "Joined", name: str) -> None:
    counts = joined.model_dump(include={"new", "repeated", "corrected", "contradictory", "unusable", "unknown"})
    console.echo(f"{joined.rows:,} labels: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    if others := joined.other_classes:
        told = ", ".join(f"{name:.40} {rows:,}" for name, rows in list(others.items())[:10])
        what = f"{sum(others.values()):,} are of classes that the version does not know, and not measured: {told}"
        console.echo(f"{what}{', …' if len(others) > 10 else ''}. Correct them, or train with these classes.")
    if joined.lag_days is not None:
        console.echo(f"They came {joined.lag_days:g} days after the day of their batch (median).")
    rows = [
        (
            each.day,
            each.version,
            each.batch,
            line.name,
            _metric(line).partition(" ")[2],
            _number(line.before),
            line.rows,
            _yes(line),
        )
        for each in joined.batches
        for line in each.lines[:1]
    ]
    show.table(("day", "version", "batch", "metric", "value", "when judged", "rows", "beyond"), rows, name)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _yes(line: Line) -> str:
    return "yes" if line.beyond else ""
