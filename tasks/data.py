"""`lifecycle.data` under orchestration."""

from lifecycle.core.class_names import as_markdown
from lifecycle.data import dataset, ingest, versions
from lifecycle.data.manifest import Manifest
from lifecycle.gate import too_few
from tasks import artifacts
from tasks.policies import in_the_ui, on_data, on_registry

plan = on_data(dataset.plan).with_options(name="plan the dataset")
version_for = on_registry(versions.chosen).with_options(name="name the dataset version")
resolve = on_data(dataset.resolve).with_options(name="choose the dataset version")
load = on_registry(dataset.load).with_options(name="read the manifest")
brought = on_data(ingest.brought).with_options(name="bring the input")
warn_of_too_few = on_registry(too_few.warn).with_options(name="count the rows to judge on")


@in_the_ui("show the dataset")
def show(manifest: Manifest, folder: str) -> None:
    """Show a dataset version: rows per side and class, quarantine by reason, and where its report lies."""
    sides = [f"| {side} | {sum(c.values()):,} | {artifacts.counted(c)} |" for side, c in manifest.counts.items()]
    aside = [f"| {reason} | {count:,} |" for reason, count in manifest.quarantined.items()] or ["| – | 0 |"]
    erased = f" + {manifest.rows_erased:,} erased" if manifest.rows_erased else ""
    lines = [
        f"# {manifest.data_name} {manifest.data_version}",
        f"{manifest.rows_in:,} rows in = {manifest.rows_split:,} split + {manifest.rows_quarantined:,} in quarantine"
        f"{erased}.",
        "\n".join(["| split | rows | classes |", "|---|---|---|", *sides]),
        "\n".join(["| quarantined as | rows |", "|---|---|", *aside]),
        *(f"{as_markdown(sentence)}." for sentence in manifest.told),
        f"Report: `{folder}/report.html`, Data Docs: `{folder}/data_docs/index.html`, digest `{manifest.digest}`.",
    ]
    artifacts.markdown(f"dataset-{manifest.data_name}", "\n\n".join(lines), "Dataset version")
