"""A model in production whose texts come from another source one day: what is seen of it, from the batches to the gate.

    python -m benchmarks.another_source TABLE OTHER [--text-column Sentence] [--label-column Sentiment] [--json]

A model is made of some rows of the table. The others are its batches, in random order, and a while later have labels
that go into the table; then its batches are texts of the other table. Of the alert the flow `monitor` tells a server,
whose automation starts the retraining on a worker. It ends with what has happened; exit code 1 if any of it
has not: no alert over the batches like the table, then an alert, its event, one retraining and the gate's verdict.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks import prefect_server
from flows.monitor import monitor
from lifecycle import settings
from lifecycle.data.source import Source
from lifecycle.inference import batch as inference
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import store, watch
from lifecycle.problems.contract import TEXT
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings

MODEL, FIRST, PATIENCE = "texts", date(2026, 1, 1), 1800
RETRAIN, DRIFT = f"retrain/{MODEL}-dev", "mlops.drift.detected"


def mlops(*arguments: str) -> None:
    sys.stderr.write(f"mlops {' '.join(arguments)}\n")
    subprocess.run([sys.executable, "-m", "cli.main", *arguments], check=True, stdout=sys.stderr)


def deploy(stack: ExitStack, folder: Path) -> None:
    """Deployments of dev with their automations, and a worker for them."""
    mlops("setup")
    mlops("deploy", "--env", "dev")
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local-process"]
    prefect_server.start(stack, worker, os.environ, folder / "worker.log")


def in_random_order(rows: pd.DataFrame, count: int, size: int) -> Iterator[pd.DataFrame]:
    """So many batches of rows, each row once before any comes again."""
    times = -(-count * size // len(rows))
    every = pd.concat([rows.sample(frac=1, random_state=seed) for seed in range(times)])
    return (every.iloc[number * size :][:size] for number in range(count))


def story(given: argparse.Namespace) -> dict[str, Any]:
    """Everything in the working directory, in its order."""
    table, text = pd.read_csv(given.table), given.text_column
    table = table.dropna().drop_duplicates(text).sample(frac=1, random_state=0)
    other = pd.read_csv(given.other, sep="\t" if given.other.suffix == ".tsv" else ",")
    other = other[given.other_column or text].dropna().drop_duplicates()
    made_of, rest = table.head(len(table) // 2), table.tail(len(table) - len(table) // 2)
    made_of.to_csv("table.csv", index=False)
    with ExitStack() as stack:
        os.environ["PREFECT_API_URL"] = stack.enter_context(
            prefect_server.running(Path("prefect").absolute(), worker=False)
        )
        stack.enter_context(temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}))
        mlops("init", "table.csv", "--model-name", MODEL, "--target", given.label_column, "--yes")
        mlops("release", "--to", "dev")
        config = settings.load("dev", model_name=MODEL)
        day = FIRST
        for rows in in_random_order(rest, given.batches, given.rows):
            day = scored(rows[text], day, config)
        clean, changed = alerts(config), day
        table.to_csv("table.csv", index=False)  # what those batches were is known by now
        for rows in in_random_order(other.to_frame(text), given.after, given.rows):
            day = scored(rows[text], day, config)
            if alerts(config):
                break
        deploy(stack, Path())
        monitor(model_name=MODEL, env="dev")
        with get_client(sync_client=True) as client:
            return {"clean alerts": clean, "changed on": str(changed)} | aftermath(client, config)


def scored(texts: "pd.Series[str]", day: date, config: Settings) -> date:
    """Publish and measure the batch of a day, step by step; returns the next day."""
    texts.rename(TEXT).to_csv("day.csv", index=False)
    asked = BatchRequest(
        model=promotion.champion(target_of(config, MODEL)),
        input=Source(uri=str(Path("day.csv").absolute())),
        logical_date=day,
        output_root=config.predictions,
        inference=config.inference.model_copy(update={"workers": 1}),
    )
    batch = batches.pinned(asked)
    batch = batch.model_copy(update={"sample": watch.sample_of(batch, config.measurements)})
    inference.infer(batch)
    about = {"rules": config.monitoring, "gate": config.gate}
    watch.watch(watch.Watch(batch=batch, root=config.measurements, data_root=config.datasets, **about))
    return day + timedelta(days=1)


def alerts(config: Settings) -> list[str]:
    """What there is to be told, open or not."""
    found = store.alerts(config.measurements, config.registered_name(MODEL), config.monitoring)
    return [alert.told for alert in found]


def aftermath(client: SyncPrefectClient, config: Settings) -> dict[str, Any]:
    """What follows from the alert by itself, once it is over."""
    deployment = client.read_deployment_by_name(RETRAIN).id
    deadline, runs = time.monotonic() + PATIENCE, list[FlowRun]()
    while not (runs and all(run.state and run.state.is_final() for run in runs)) and time.monotonic() < deadline:
        time.sleep(1)
        runs = [run for run in client.read_flow_runs(limit=200) if run.deployment_id == deployment]
    chosen = EventFilter(event=EventNameFilter(name=[DRIFT]))
    return {
        "alerts": alerts(config),
        "events": [event.payload["id"] for event in client.read_events(chosen, limit=50).events],
        "retrainings": [f"{run.state.name}: {run.state.message}" for run in runs if run.state],
    }


def has_happened(found: dict[str, Any]) -> bool:
    """Whether all of it went as it is to go: the gate has accepted or refused what one retraining made."""
    verdict = [said for said in found["retrainings"] if said.startswith(("Completed", "Refused"))]
    return not found["clean alerts"] and bool(found["alerts"]) and len(found["events"]) == 1 and len(verdict) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="CSV of texts and labels.")
    parser.add_argument("other", type=Path, help="CSV or TSV of texts from elsewhere.")
    parser.add_argument("--text-column", default="Sentence")
    parser.add_argument("--label-column", default="Sentiment")
    parser.add_argument("--other-column", help="Default: the text column.")
    parser.add_argument("--batches", type=int, default=50, help="Batches like the table.")
    parser.add_argument("--after", type=int, default=7, help="Batches of the other texts, at most.")
    parser.add_argument("--rows", type=int, default=60, help="Rows of a batch.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.table, given.other = given.table.absolute(), given.other.absolute()
    os.environ |= {"PYTHONPATH": str(prefect_server.ROOT), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        found = story(given)
    if given.json:
        print(json.dumps(found))
    else:
        print("| what | seen |\n|---|---|")
        for what, seen in found.items():
            print(f"| {what} | {seen if isinstance(seen, str) else '; '.join(seen) or 'none'} |")
    sys.exit(not has_happened(found))


if __name__ == "__main__":
    main()
