"""The champion before one on probation scores the same batches: what is asked, measured and found of both.

`<root>/<registered model>/probation/<entry of the promotion>/`
    batches/<batch>-<place>.json   each batch since, as it was asked: who rolls back has to know all of them
    decision.json                  the rule is broken: written before anything is done about it
    done.json                      and what became of it, once everybody was told
"""

import hashlib
import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.data.source import Source
from lifecycle.inference import manifest as batches
from lifecycle.inference import superseded
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import labels, store, trust, watch
from lifecycle.monitoring.findings import SERVED, Measured
from lifecycle.monitoring.measure import Published, measured, of_batch
from lifecycle.monitoring.probation import Pair, Probation, causes
from lifecycle.monitoring.subject import Subject, by_log, noted
from lifecycle.registry import promotion, story
from lifecycle.registry import store as registry
from lifecycle.registry.log import Log
from lifecycle.settings.rules import DataRules, InferenceRules
from lifecycle.storage import volumes

REQUEST = "request of the server"
"""The column of the keys, in a table of requests: no model has an input of this name."""
BATCHES, DECISION = "batches", "decision.json"


def stands(subject: Subject) -> Probation:
    """Where the champion stands, which is written down for light commands.

    Raises:
        IntegrityError: Versions are missing: who is champion is not known.
    """
    now = promotion.read_log(subject.target)
    story.refuse_if_missing(subject.target, now)
    return noted(subject, now, by_log(subject, now) or _running(subject, now))


def record(subject: Subject, batch: BatchRequest) -> Probation:
    """Write down a batch before it is scored, if its model is on probation; if that is champion again, it counts again.

    Who is killed after this has recorded a batch that is not there: nobody is hurt by that.
    """
    found = stands(subject)
    folder, _ = batches.locate(batch)
    if batch.model.version == found.champion:
        superseded.unmark(folder)
    if found.state in {"running", "passed", "broken"} and not found.is_over and batch.model.version == found.version:
        of_place = hashlib.sha256(f"{batch.output_root} {batch.inference.table}".encode()).hexdigest()[:8]
        path = subject.folder(found.entry) / BATCHES / f"{folder.name}-{of_place}.json"
        if not volumes.exists(path):
            store.write_json(path, batch.model_copy(update={"sample": None}).model_dump(mode="json"))
    return found


def asked(subject: Subject, found: Probation, batch: BatchRequest) -> BatchRequest | None:
    """The same batch for the former champion; None unless it has to score it: on probation, measured, and not done."""
    if found.state != "running" or found.is_over or batch.model.version != found.version:
        return None
    folder, _ = batches.locate(batch)
    done = store.place(subject.root, subject.name, "shadow", found.former, folder.name)
    if volumes.exists(done) or not volumes.exists(_of_champion(subject, found, folder.name)):
        return None
    again = aside(subject, found, batch)
    return again.model_copy(update={"sample": watch.sample_of(again, subject.root)})


def aside(subject: Subject, found: Probation, batch: BatchRequest) -> BatchRequest:
    """The same batch, scored by the former champion into the shadow, and entered in no table."""
    return batch.model_copy(
        update={
            "model": promotion.reference(subject.target, found.former),
            "output_root": subject.shadows,
            "inference": batch.inference.model_copy(update={"table": None}),
        }
    )


def keep_requests(root: Path, name: str, former: int, window: str, rows: pd.DataFrame) -> None:
    """Write the inputs of a window of requests, by a key of their own, until the former champion has answered them."""
    lines = (json.dumps(row, ensure_ascii=False, default=str) for row in rows.to_dict("records"))
    store.write(_inputs(root, name) / f"v{former}-{window}.jsonl", "\n".join([*lines, ""]).encode())


def windows(subject: Subject, found: Probation, rules: DataRules, inference: InferenceRules) -> list[BatchRequest]:
    """What the former champion has to answer of requests, the earliest first; inputs that nobody needs are removed."""
    asked: list[BatchRequest] = []
    for path in sorted(volumes.glob(_inputs(subject.root, subject.name), f"v*-{SERVED}*.jsonl")):
        version, _, window = path.name.removesuffix(".jsonl").partition("-")
        done = store.place(subject.root, subject.name, "shadow", found.former, window)
        is_left = found.state == "running" and len(asked) + found.batches < found.of
        if found.is_over or version != f"v{found.former}" or not is_left or volumes.exists(done):
            volumes.remove(path)
            continue
        if not volumes.exists(_of_champion(subject, found, window)):  # killed before: it is written anew
            continue
        request = BatchRequest(
            model=promotion.reference(subject.target, found.former),
            input=Source(uri=str(path)),
            key_column=REQUEST,
            window=window,
            logical_date=date.fromisoformat(window.removeprefix(SERVED)[:10]),
            output_root=subject.shadows,
            rules=rules,
            inference=inference.model_copy(update={"table": None}),
        )
        asked.append(request.model_copy(update={"sample": watch.sample_of(request, subject.root)}))
    return asked


def _inputs(root: Path, name: str) -> Path:
    return root / name / "inputs"


def compare(subject: Subject, shadow: BatchRequest) -> None:
    """Measure what the former champion has answered in the shadow, as the champion's answers are measured."""
    try:
        folder, _ = batches.locate(shadow)
        baseline = watch.baseline_of(shadow.model, subject.data_root)
        observed = of_batch(Published(shadow, folder, batches.load(folder)), baseline)
        found = measured(observed, baseline, subject.rules, subject.gate)
        store.keep(subject.root, "shadow", found)
    finally:
        if shadow.sample:
            volumes.remove(shadow.sample)


def recorded(subject: Subject, entry: int) -> list[BatchRequest]:
    """Each batch since a promotion, as it was asked."""
    paths = volumes.glob(subject.folder(entry), f"{BATCHES}/*.json")
    return [_request(path) for path in paths if not path.name.startswith(".")]


def forget(subject: Subject, found: Probation) -> None:
    """Remove predictions that were made in the shadow and that no probation can need any more.

    One that was passed by its batches may still be broken by labels, until its days are over.
    """
    needed = str(found.former) if found.state in {"running", "passed", "broken"} and not found.is_over else ""
    for folder in volumes.glob(subject.shadows, f"{subject.name}/*"):
        if folder.name == needed:
            continue
        if not volumes.on_volume(folder):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        for pattern in (f"*/{batches.MANIFEST}", "*/*/*"):  # the manifest first: without it nothing is published
            for path in volumes.glob(folder, pattern):
                volumes.remove(path)


def _running(subject: Subject, now: Log) -> Probation:
    """A probation, as far as it has come."""
    rules, last = subject.rules.probation, now.changes[-1]
    since = datetime.fromtimestamp(registry.version(subject.target, last.number).created_at / 1000, UTC)
    found = Probation(
        model=subject.name,
        state="running",
        entry=last.number,
        version=now.champion or 0,
        former=now.previous or 0,
        since=since,
        until=since + timedelta(days=rules.days),
        of=rules.batches,
    )
    pairs = _pairs(subject, found)
    broken = () if found.is_over else causes(pairs, rules.least)
    is_over = found.is_over or len(pairs) >= rules.batches
    state = "broken" if broken else "passed" if is_over else "running"
    return found.model_copy(update={"batches": len(pairs), "causes": broken, "state": state})


def _pairs(subject: Subject, found: Probation) -> list[Pair]:
    """What was measured of the first batches that both have scored, in the order in which they were."""
    both: list[tuple[Measured, Measured]] = []
    for of_former in store.tables(subject.root, f"{subject.name}/shadow/v{found.former}/*.parquet"):
        of_champion = _of_champion(subject, found, of_former.name.removesuffix(".parquet"))
        if volumes.exists(of_champion):
            both.append((store.read(of_champion), store.read(of_former)))
    both = [pair for pair in both if found.since is None or pair[0].at >= found.since]  # not of an earlier reign
    first = sorted(both, key=lambda each: (each[0].at, each[0].batch))[: found.of]
    return _with_performance(subject, found, first)


def _with_performance(subject: Subject, found: Probation, both: list[tuple[Measured, Measured]]) -> list[Pair]:
    """The same with how well both have answered, where labels have come."""
    answered = {
        each.batch: each.lines
        for each in store.every(subject.root, subject.name, "performance")
        if each.version == found.version
    }
    of_former: dict[str, Measured] = {}
    if any(new.batch in answered for new, _ in both):
        of_former = labels.known(_answers(subject))
    prefix = f"v{found.former}/"
    pairs = []
    for new, former in both:
        theirs = of_former.get(prefix + new.batch)
        of_labels = answered.get(new.batch, ()), theirs.lines if theirs else ()
        pairs.append(Pair(trust.believed(new) + of_labels[0], trust.believed(former) + of_labels[1]))
    return pairs


def _answers(subject: Subject) -> labels.Answers:
    return labels.Answers(
        name=subject.name,
        tracking_uri=subject.target.tracking_uri,
        registry_uri=subject.target.registry_uri,
        root=subject.root,
        output_root=subject.shadows,
        data_root=subject.data_root,
        gate=subject.gate,
        rules=subject.rules,
    )


def _of_champion(subject: Subject, found: Probation, batch: str) -> Path:
    return store.place(subject.root, subject.name, "drift", found.version, batch)


def _request(path: Path) -> BatchRequest:
    try:
        return BatchRequest.model_validate_json(volumes.read(path))
    except ValidationError as error:
        raise IntegrityError(f"{path} is damaged: {error.errors()[0]['msg']}.", "Remove it.") from None
