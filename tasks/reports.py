"""What Prefect's UI shows of a run: artifacts, and the links from a run to where its results lie."""

from pathlib import Path

from prefect import runtime
from prefect.artifacts import create_link_artifact, create_table_artifact

from lifecycle.core.class_names import as_markdown
from lifecycle.core.references import ModelRef
from lifecycle.gate.present import markdown, rows
from lifecycle.gate.verdict import Verdict
from lifecycle.inference.manifest import BatchManifest
from lifecycle.monitoring.findings import Alert
from lifecycle.monitoring.restoration import Restored
from lifecycle.registry import catalog
from lifecycle.registry.promotion import Promotion
from lifecycle.serving.served import Served
from lifecycle.settings import Settings
from lifecycle.storage import volumes
from tasks import artifacts, registry
from tasks.links import page_of
from tasks.outcomes import Batch
from tasks.policies import in_the_ui


def links() -> dict[str, str]:
    """Tags that lead from an MLflow run back to this flow run."""
    run_id = runtime.flow_run.id
    url = page_of(run_id) if run_id else ""
    text = f"[Its run in Prefect]({url})" if url else ""  # the description is where MLflow's UI follows links
    text = text or (f"Its run in Prefect is `{run_id}`: mlops up shows it." if run_id else "")
    tags = {"prefect.flow_run_id": str(run_id or ""), "prefect.flow_run_url": url, "mlflow.note.content": text}
    return {key: value for key, value in tags.items() if value}


@in_the_ui("link the MLflow run")
def show_run(config: Settings, model_name: str, model: ModelRef) -> None:
    """Link to the MLflow run of a model, where a server shows it."""
    key = artifacts.key(f"mlflow-run-{config.registered_name(model_name)}")
    if link := catalog.run_link(config.mlflow_uri, model.run_id, config.mlflow_ui):
        create_link_artifact(link, link_text=f"MLflow run {model.run_id}", key=key, description=model.label)


@in_the_ui("show the verdict")
def show_verdict(verdict: Verdict, name: str) -> None:
    """Show a verdict on what wants to be champion of a model: each check as a row, and the whole as a text."""
    checks = rows.checks(verdict)
    table = [dict(zip(checks.header, row.cells, strict=True)) for row in checks.rows]
    dry = "DRY RUN, nothing is protected: " if verdict.mode == "dry_run" else ""
    reasons = as_markdown("; ".join(verdict.reasons))
    description = f"{dry}**{verdict.title}** in {verdict.env}: {reasons}"
    create_table_artifact(table=table, key=artifacts.key(f"verdict-{name}"), description=description)
    artifacts.markdown(f"verdict-{name}-explained", markdown.text(verdict), description)


def show_card(config: Settings, model_name: str, version: int, verdict: Verdict | None) -> None:
    """Write the model card of a champion where the model is, and show the same in Prefect's UI."""
    text = registry.write_card(config, model_name, version, verdict)
    _show_card(config.registered_name(model_name), text)


@in_the_ui("show the model card")
def _show_card(name: str, text: str) -> None:
    artifacts.markdown(f"model-card-{name}", text, "Model card")


@in_the_ui("show the promotion")
def show_promotion(promotion: Promotion) -> None:
    """Show who is champion now and how to go back."""
    env, _, model = promotion.name.split(".", 2)
    before = f"v{promotion.previous}" if promotion.previous else "none"
    message = as_markdown(promotion.message)
    text = (
        f"# {promotion.name} v{promotion.champion} is champion\n\n{message}\n\nBefore: {before}. "
        f"To go back: `mlops rollback --model-name {model} --env {env}`"
    )
    artifacts.markdown(f"champion-{promotion.name}", text, message)


@in_the_ui("show the endpoint")
def show_endpoint(served: Served) -> None:
    """Link the page of an endpoint and say what it serves."""
    text, key = f"Endpoint {served.endpoint} in Databricks", artifacts.key(f"endpoint-{served.name}")
    create_link_artifact(served.link, link_text=text, key=key, description=served.message)


@in_the_ui("show the batch")
def show_batch(batch: Batch) -> None:
    """Show what a batch scored and rejected, and where it lies."""
    manifest = batch.manifest
    erased = f" + {manifest.rows_erased:,} erased" if manifest.rows_erased else ""
    text = (
        f"# {manifest.scored:,} predictions by {manifest.made_by}\n\n"
        f"{manifest.rows_in:,} rows in = {manifest.scored:,} scored + {sum(manifest.rejected.values()):,} rejected "
        f"({artifacts.counted(manifest.rejected) or 'none'}){erased}. {' '.join(manifest.told)}\n\n"
        f"{_answers(manifest)}.\n\nIn `{batch.folder}`."
    )
    artifacts.markdown(f"batch-{manifest.model_name}", text, "Batch inference")


@in_the_ui("show the probation")
def show_restored(restored: Restored) -> None:
    """Show why a champion was rolled back by itself, and what became of its predictions."""
    found = restored.decision.probation
    rows = [
        f"| {as_markdown(cause.name)} | {cause.measure} | {cause.value:.3g} | {cause.limit:.3g} | {cause.batches} |"
        for cause in found.causes
    ]
    lost = "".join(f"\n\nNot scored again: `{folder}`" for folder in restored.lost)
    text = (
        f"# {found.model} v{found.version} has broken its probation\n\nv{found.former} is champion again: of the same "
        f"{found.batches} batches it had none of this.\n\n"
        + "\n".join(["| what | measure | last | limit | batches |", "|---|---|---|---|---|", *rows])
        + f"\n\n{restored.replaced} batches are superseded by those of v{found.former}.{lost}"
    )
    artifacts.markdown(f"probation-{found.model}", text, as_markdown(restored.decision.reason))


@in_the_ui("link the page")
def link_page(path: Path, name: str) -> None:
    """Link the page of a model in production; from a volume it is downloaded, since no browser opens it there."""
    key, told = artifacts.key(f"monitoring-{name}"), f"{name} in production"
    if volumes.on_volume(path):
        artifacts.markdown(key, f"# {told}\n\n`{path}`\n\nTo see it: `databricks fs cp dbfs:{path} .`", told)
        return
    env, _, model = name.split(".", 2)
    description = (
        f"{told}. If no browser opens the link: `mlops monitor report --model-name {model} --env {env} --open`"
    )
    create_link_artifact(path.as_uri(), link_text=str(path), key=key, description=description)


@in_the_ui("show the alert")
def show_alert(alert: Alert, advice: str) -> None:
    """Show what an alert is about, since when, how bad it is, and what to do."""
    rows = [
        f"| {as_markdown(cause.name)} | {cause.measure} | {cause.value:.3g} | {cause.limit:.3g} | {cause.batches} |"
        for cause in alert.causes
    ]
    text = (
        f"# {alert.kind} of {alert.model} v{alert.version}\n\nSince {alert.since}, in {alert.batches} of the last "
        f"{alert.window} batches.\n\n"
        + "\n".join(["| what | measure | last | limit | batches |", "|---|---|---|---|---|", *rows])
        + "".join(f"\n\nFor example {as_markdown(each.told)}." for each in alert.examples)
        + (f"\n\nWorst in {as_markdown(', '.join(alert.slices))}." if alert.slices else "")
        + f"\n\nNext: `{advice}`; all of it as a page: `{advice.replace('monitor show', 'monitor report')}`"
    )
    artifacts.markdown(f"alert-{alert.kind}-{alert.model}", text, as_markdown(alert.told))


def _answers(manifest: BatchManifest) -> str:
    if manifest.numbers is None:
        return f"Labels: {artifacts.counted(manifest.labels)}"
    return "Predictions: " + ", ".join(f"{name} {value}" for name, value in manifest.answers.items())
