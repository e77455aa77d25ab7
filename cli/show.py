"""Results for people: tables on stdout. With `--json` the same values as JSON."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from lifecycle.data.dataset import Manifest
    from lifecycle.gate.verdict import Verdict
    from lifecycle.outcomes import Admission, Batch, Release
    from lifecycle.registry.catalog import ModelPage, VersionFacts


def print_json(value: Any) -> None:
    """Print a value, pydantic models included, as JSON on stdout."""

    def plain(each: Any) -> Any:
        return each.model_dump(mode="json") if hasattr(each, "model_dump") else str(each)

    json.dump(value, sys.stdout, default=plain, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print a table; its lines are as wide as the terminal, or as wide as needed when the output is piped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    width = None if sys.stdout.isatty() else 160
    drawn = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(width=width, highlight=False).print(drawn)


def dataset(manifest: "Manifest", folder: str) -> None:
    """Show a dataset version."""
    typer.echo(
        f"Dataset {manifest.data_name} {manifest.data_version}: {manifest.rows_in:,} rows in = "
        f"{manifest.rows_split:,} split + {manifest.rows_quarantined:,} in quarantine"
    )
    rows = [
        (side, f"{sum(counts.values()):,}", *(f"{counts.get(name, 0):,}" for name in manifest.classes))
        for side, counts in manifest.counts.items()
    ]
    table(("side", "rows", *manifest.classes), rows)
    if manifest.quarantined:
        table(("quarantined as", "rows"), manifest.quarantined.items())
    typer.echo(f"Report: {folder}/report.html")


def admission(outcome: "Admission") -> None:
    """Show how a challenger fared."""
    if outcome.verdict:
        verdict(outcome.verdict)
    typer.echo(outcome.message)


def verdict(judged: "Verdict") -> None:
    """Show a verdict: each check with value, interval and limit, then the reasons."""
    rows = [
        (
            check.name,
            check.outcome,
            _number(check.value),
            f"[{_number(check.low)}, {_number(check.high)}]" if check.low is not None else "",
            _number(check.limit),
            check.detail,
        )
        for check in judged.checks
    ]
    where = f"{judged.data_name} {judged.data_version} {judged.side}".strip()
    title = f"{judged.challenger} against {judged.champion or 'no champion'} in {judged.env}, on {where}"
    table(("check", "outcome", "value", "interval", "limit", "detail"), rows, title)
    for name, flips in (("newly broken", judged.broken), ("newly repaired", judged.repaired)):
        if flips:
            shown = [(f.row, f.truth, f.champion, f.challenger, f.text[:70]) for f in flips[:3]]
            table(("row", "truth", "champion", "challenger", "text"), shown, f"Rows {name}, for example")


def model(page: "ModelPage") -> None:
    """Show a model: its champion and aliases, then each version."""
    typer.echo(f"{page.name}: champion {version(page.champion) or 'none'}, alias {version(page.alias) or 'none'}")
    for text in (page.description, page.link, _pairs_of(page.tags)):
        if text:
            typer.echo(text)
    for facts in page.details:
        model_version(facts, {})


def model_version(facts: "VersionFacts", signature: dict[str, Any]) -> None:
    """Show a version with its lineage."""
    rows = [
        ("status", facts.status),
        ("created", f"{facts.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("stage", facts.stage),
        ("description", facts.description),
        ("source", facts.source),
        ("run", facts.run_link or facts.run_id),
        ("dataset", f"{facts.dataset} {facts.dataset_digest[:12]}".strip()),
        ("git commit", facts.git_commit),
        ("link", facts.link),
        *((f"signature {side}", columns) for side, columns in signature.items() if columns),
        *facts.tags.items(),
    ]
    title = f"{facts.name} {version(facts.version)} {', '.join(facts.aliases)}".strip()
    table(("", ""), [row for row in rows if row[1]], title)


def version(number: int | None) -> str:
    """A version number as people write it."""
    return f"v{number}" if number else ""


def batch(done: "Batch") -> None:
    """Show a batch of predictions."""
    manifest = done.manifest
    rejected = sum(manifest.rejected.values())
    typer.echo(
        f"Predictions of {manifest.model_name} {_version(manifest.model_version)}: {manifest.rows_in:,} rows in = "
        f"{manifest.scored:,} scored + {rejected:,} rejected"
    )
    table(("label", "rows"), manifest.labels.items())
    typer.echo(f"In: {done.folder}")


def release(done: "Release") -> None:
    """Show a release in one table: data, then each environment with its verdict, then the predictions."""
    manifest = done.dataset
    quarantined = ", ".join(f"{reason} {count}" for reason, count in manifest.quarantined.items()) or "none"
    rows: list[tuple[str, str, str]] = [
        ("dataset", f"{manifest.data_name} {manifest.data_version}", f"{manifest.rows_in:,} rows in"),
        ("  split", f"{manifest.rows_split:,} rows", _sides(manifest)),
        ("  quarantine", f"{manifest.rows_quarantined:,} rows", quarantined),
    ]
    for outcome in done.admissions:
        rows += _environment(outcome)
    if done.batch:
        found = done.batch.manifest
        labels = ", ".join(f"{label} {count:,}" for label, count in found.labels.items())
        rows.append(("predictions", f"{found.scored:,} rows", labels))
        rows.append(("  rejected", f"{sum(found.rejected.values()):,} rows", _pairs(found.rejected) or "none"))
    table(("what", "value", "detail"), rows)
    if not any(outcome.verdict for outcome in done.admissions):
        typer.echo("Nothing was changed: this release is in place.")
    if done.batch:
        typer.echo(f"Predictions: {done.batch.folder}")


def _environment(outcome: "Admission") -> list[tuple[str, str, str]]:
    if outcome.verdict is None:
        return [(str(outcome.env), "no change", outcome.message)]
    judged = outcome.verdict
    champion = f"{outcome.model} v{outcome.promotion.champion}" if outcome.promotion else "champion unmoved"
    rows = [(str(outcome.env), champion, f"{judged.decision}: {'; '.join(judged.reasons)}")]
    for name, found in judged.metrics.items():
        interval = f"[{found.low:.3f}, {found.high:.3f}] on {judged.rows:,} {judged.side} rows"
        rows.append((f"  {name}", f"{found.value:.3f}", interval))
    return rows


def _sides(manifest: "Manifest") -> str:
    return ", ".join(f"{side} {sum(counts.values()):,}" for side, counts in manifest.counts.items())


def _pairs_of(tags: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in tags.items())


def _pairs(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _version(number: int | None) -> str:
    return f"v{number}" if number else "(not registered)"
