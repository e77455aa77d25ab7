"""A verdict as Markdown: what stands in Prefect's UI, before an approver, and in the summary of a CI job."""

from collections.abc import Iterator

from lifecycle.core.class_names import as_markdown
from lifecycle.gate.present import rows
from lifecycle.gate.present.rows import Table
from lifecycle.gate.verdict import Verdict

TEXT = 120
"""Letters of a row's inputs."""


def text(verdict: Verdict) -> str:
    """The decision with its reasons, then metrics, slices, behaviour and rows; the checks have a table of their own."""
    _, *others = rows.every(verdict) if verdict.checks else (None, *rows.every(verdict))
    tables = (table(shown) for shown in others if shown is not None)
    return "\n\n".join((*_beginning(verdict), *tables, f"Verdict `{verdict.digest}`")) + "\n"


def table(shown: Table) -> str:
    """A table below its title."""
    lines = [shown.header, *(tuple(cell[:TEXT] for cell in row.cells) for row in shown.rows)]
    head, *body = (f"| {' | '.join(map(as_markdown, cells))} |" for cells in lines)
    return "\n".join([f"## {as_markdown(shown.title)}\n", head, f"|{'---|' * len(shown.header)}", *body])


def _beginning(verdict: Verdict) -> Iterator[str]:
    yield f"# {verdict.title} in {verdict.env}"
    if verdict.mode == "dry_run":
        yield f"**DRY RUN: the gate of {verdict.env} protects nothing.** What it refuses is promoted all the same."
    yield "\n".join(f"- {as_markdown(reason)}" for reason in verdict.reasons)
    data = f"{verdict.data_name} {verdict.data_version} {verdict.side}".strip()
    against = f"the champion {verdict.champion}" if verdict.champion else "no champion"
    left = [f"{count:,} rows that the {who} was trained on" for who, count in verdict.left_out.items() if count]
    aside = f" Left out: {' and '.join(left)}." if left else ""
    terms = "".join(f" {as_markdown(term)}" for term in verdict.terms)
    yield f"Challenger: {verdict.challenger}, against {against}, on {verdict.rows:,} rows of {data}.{aside}{terms}"
