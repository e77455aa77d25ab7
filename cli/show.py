"""Results for people: tables on stdout. With `--json` the same values as JSON."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import console, next_steps
from lifecycle.core.errors import ConfigError
from lifecycle.gate.present import rows as tables

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from lifecycle.data.manifest import Manifest
    from lifecycle.gate.present.rows import Table
    from lifecycle.gate.selftest.selftest import SelftestResult
    from lifecycle.gate.verdict import Measurements, Verdict
    from lifecycle.inference.manifest import BatchManifest
    from lifecycle.problems.findings import Interval
    from lifecycle.registry.catalog import ModelPage, VersionFacts
    from tasks.outcomes import Admission, Batch, Release

SHOWN, TEXT = 12, 70
"""Rows of a table about rows of the data, and letters of their texts."""
OUTCOMES = {"pass": "green", "caught": "green", "too_few": "dim", "unguarded": "yellow"} | dict.fromkeys(
    ("fail", "MISSED", "not_enough_data"), "bold red"
)
WHOLE = frozenset({"outcome", "value", "interval", "limit", "rows", "gain", "p", "failures", "row", "score", "error"})
"""Columns that are of no use broken into lines; the others make room for them."""
HEADLINE = 2
"""So many metrics stand in a release's summary, the deciding one first; `mlops gate explain` shows all."""


def print_json(value: Any) -> None:
    """Print a value, pydantic models included, as JSON on stdout."""

    def plain(each: Any) -> Any:
        return each.model_dump(mode="json") if hasattr(each, "model_dump") else str(each)

    console.echo(json.dumps(value, default=plain, indent=2, ensure_ascii=not console.holds_all()))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print a table; its lines are as wide as the terminal, or as wide as needed when the output is piped.

    Cells are shown as they are: a text of somebody's may look like markup.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = None if title is None else Text(title, "bold")
    drawn = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(Text(column), no_wrap=column in WHOLE)
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    _console().print(drawn)


def _console() -> "Console":
    """Standard output: as wide as the terminal, with colours only there and if NO_COLOR does not forbid them."""
    from rich.console import Console

    out = console.results()
    width = None if out.isatty() or "COLUMNS" in os.environ else 160
    return Console(file=out, width=width, highlight=False)


def _say(text: str, style: str = "") -> None:
    from rich.text import Text

    _console().print(Text(text, style), soft_wrap=True)


def _outcome(outcome: str) -> "Text":
    from rich.text import Text

    return Text(outcome.replace("_", " "), OUTCOMES.get(outcome, ""))


def _erased(manifest: "Manifest | BatchManifest") -> str:
    return f" + {manifest.rows_erased:,} erased" if manifest.rows_erased else ""


def dataset(manifest: "Manifest", folder: str) -> None:
    """Show a dataset version."""
    console.echo(
        f"Dataset {manifest.data_name} {manifest.data_version}: {manifest.rows_in:,} rows in = "
        f"{manifest.rows_split:,} split + {manifest.rows_quarantined:,} in quarantine{_erased(manifest)}"
    )
    if len(manifest.classes) <= SHOWN:
        rows = [
            (side, f"{sum(counts.values()):,}", *(f"{counts.get(name, 0):,}" for name in manifest.classes))
            for side, counts in manifest.counts.items()
        ]
        table(("split", "rows", *map(_cut, manifest.classes)), rows)
    else:  # too many for columns
        console.echo(f"{len(manifest.classes)} classes; rows: {_sides(manifest)}")
        rows = [
            (name, *(f"{counts.get(name, 0):,}" for counts in manifest.counts.values()))
            for name in manifest.largest(SHOWN)
        ]
        table(("class", *manifest.counts), rows, "The largest classes")
    if manifest.quarantined:
        table(("quarantined as", "rows"), manifest.quarantined.items())
    for sentence in manifest.told:
        console.echo(sentence)
    console.echo(f"Report: {folder}/report.html")


def admission(outcome: "Admission") -> None:
    """Show how a challenger fared."""
    if judged := outcome.verdict:
        _decision(judged)
        for shown in (tables.checks(judged), *tables.changes(judged, 3)):
            _table_of(shown)
        console.echo(f"Metrics, slices of the rows, plots: {next_steps.explain(outcome)}")
        if not judged.promote:  # which has been said above
            return
    console.echo(outcome.message)


def verdict(judged: "Verdict") -> None:
    """Show a verdict with everything that it rests on: checks, metrics, slices, behaviour, rows."""
    _decision(judged)
    for shown in tables.every(judged):
        _table_of(shown)


def comparison(found: "Measurements") -> None:
    """Show two models side by side."""
    _say(f"{found.challenger} (challenger) against {found.champion} (champion)", "bold")
    _say(f"On {_where(found)}")
    made = (tables.metrics(found), tables.classes(found), tables.slices(found), *tables.changes(found, 3))
    for shown in made:
        _table_of(shown)


def write_page(path: Path, content: str | bytes) -> None:
    """Write a page where a person wants it, and say so.

    Raises:
        ConfigError: It cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise ConfigError(f"The report cannot be written: {error}.", "Name another file: --html FILE") from None
    sys.stderr.write(f"Report: {path}\n")


def _where(found: "Measurements") -> str:
    aside = "".join(
        f"; {count:,} rows that the {who} was trained on are left out" for who, count in found.left_out.items() if count
    )
    return f"{found.rows:,} rows of {found.data_name} {found.data_version} {found.side}".strip() + aside


def _decision(judged: "Verdict") -> None:
    style = "bold green" if judged.decision == "promote" else "bold red"
    whom = f"{judged.challenger} against {judged.champion or 'no champion'}"
    _say(f"{judged.title.upper()} in {judged.env}: {whom}", style)
    _say(f"On {_where(judged)}")
    if judged.mode == "dry_run":
        what = (
            "what is refused is promoted all the same"
            if judged.proven
            else "but this model is not proven to run, and stays out"
        )
        _say(f"DRY RUN: the gate of {judged.env} protects nothing; {what}.", "bold yellow")
    failed = tuple(check.name for check in judged.checks if check.outcome == "fail")
    in_words = [reason for reason in judged.reasons if not reason.startswith(failed)]  # the table has the numbers
    for reason in in_words or judged.reasons:
        _say(f"- {reason}")
    for term in judged.terms:
        _say(term)


def _table_of(shown: "Table") -> None:
    """A table of a verdict: outcomes in their colours, and what a model was given cut to a line."""
    from rich.text import Text

    def cell(column: str, text: str, tone: str) -> Text:
        style = OUTCOMES.get(tone, "") if column == "outcome" else ""
        return Text(_cut(text) if column == shown.inputs else text, style)

    if shown.rows:
        lines = [[cell(*pair, row.tone) for pair in zip(shown.header, row.cells, strict=True)] for row in shown.rows]
        table(shown.header, lines, shown.title)


def selftest(done: "SelftestResult") -> None:
    """Show what became of each planted challenger; of several reasons the one that it was planted for."""
    rows = []
    for line in done.lines:
        expected = ", ".join(filter(None, (line.expected, line.expected_reason)))
        awaited = [
            reason for reason in line.reasons if line.outcome == "caught" and reason.startswith(line.expected_reason)
        ]
        rows.append(
            (line.name, _outcome(line.outcome), expected, line.decision, "; ".join(awaited[:1] or line.reasons))
        )
    table(("planted", "outcome", "expected", "decision", "reason"), rows)
    if done.replaced:
        _say(f"On the planted rows other limits stood in: {'; '.join(done.replaced)}")
    word = "passed" if done.passed else "FAILED"
    _say(
        f"Gate selftest of {done.env} on {done.problem}: {word} ({done.seconds:.1f} s).",
        "bold green" if done.passed else "bold red",
    )


def model(page: "ModelPage") -> None:
    """Show a model: its champion and aliases, then each version."""
    console.echo(f"{page.name}: champion {version(page.champion) or 'none'}, alias {version(page.alias) or 'none'}")
    for text in (page.description, page.link, _pairs_of(page.tags)):
        if text:
            console.echo(text)
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
        ("gate", f"{metrics(facts.metrics, 3)} on {facts.judged_on}" if facts.metrics else ""),
        ("git commit", facts.git_commit),
        ("link", facts.link),
        *((f"signature {side}", columns) for side, columns in signature.items() if columns),
        *facts.tags.items(),
    ]
    title = f"{facts.name} {version(facts.version)} {', '.join(facts.aliases)}".strip()
    table(("", ""), [row for row in rows if row[1]], title)


def metrics(found: Mapping[str, "Interval"], most: int) -> str:
    """The first metrics with their intervals."""
    return ", ".join(f"{name} {tables.interval(value)}" for name, value in list(found.items())[:most])


def version(number: int | None) -> str:
    """A version number as people write it."""
    return f"v{number}" if number else ""


def batch(done: "Batch") -> None:
    """Show a batch of predictions."""
    manifest = done.manifest
    rejected = sum(manifest.rejected.values())
    console.echo(
        f"Predictions of {manifest.model_name} {_version(manifest.model_version)}: {manifest.rows_in:,} rows in = "
        f"{manifest.scored:,} scored + {rejected:,} rejected{_erased(manifest)}"
    )
    for sentence in manifest.told:
        console.echo(sentence)
    table(("prediction", "" if manifest.numbers else "rows"), manifest.answers.items())
    console.echo(f"In: {done.folder}")


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
        answers = ", ".join(f"{name} {value}" for name, value in found.answers.items())
        rows.append(("predictions", f"{found.scored:,} rows", answers))
        rows.append(("  rejected", f"{sum(found.rejected.values()):,} rows", _pairs(found.rejected) or "none"))
    table(("what", "value", "detail"), rows)
    if alike := done.judged_alike:
        console.echo(
            f"{and_(alike)} judged on the same rows: that is one test. Other rows: gate_data in config/<env>.yaml"
        )
    if not any(outcome.verdict for outcome in done.admissions):
        console.echo("Nothing was changed: this release is in place.")
    if done.batch:
        console.echo(f"Predictions: {done.batch.folder}")


def _environment(outcome: "Admission") -> list[tuple[str, str, str]]:
    if outcome.verdict is None:
        return [(str(outcome.env), "no change", outcome.message)]
    judged = outcome.verdict
    champion = f"{outcome.model} v{outcome.promotion.champion}" if outcome.promotion else "refused"
    told = f"{judged.title}: {'; '.join(judged.reasons)}" if judged.promote else judged.reasons[0]
    rows = [(str(outcome.env), champion, told)]
    for row in tables.metrics(judged).rows[:HEADLINE]:
        value, _, interval = row.cells[1].partition(" ")
        rows.append((f"  {row.cells[0]}", value, f"{interval} on {judged.rows:,} {judged.side} rows"))
    return rows


def and_(names: Sequence[str]) -> str:
    """Names as a sentence has them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sides(manifest: "Manifest") -> str:
    return ", ".join(f"{side} {sum(counts.values()):,}" for side, counts in manifest.counts.items())


def _pairs_of(tags: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in tags.items())


def _pairs(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _cut(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[: TEXT - 2]} …"


def _version(number: int | None) -> str:
    return f"v{number}" if number else "(not registered)"
