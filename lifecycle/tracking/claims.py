"""From whom it is known which texts a model was fitted on: our training recorded them, or somebody declared them.

`declared`, `RECORDED`   what a run is tagged with, under `TRAINED_ON`
`seal`, `check`          keys of texts bound to their run and model, so that copied ones are not taken for a run's own
`reseal`                 the same once rows were erased from them
`of`                     the claim of a run
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Side
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import user
from lifecycle.tracking import runs
from lifecycle.tracking.client import client, translated
from lifecycle.tracking.runs import ARTIFACT_SHA256

if TYPE_CHECKING:
    import pandas as pd

TRAINED_ON = "mlops.trained_on"
RECORDED, DECLARED = "recorded", "declared"
SEAL, ERASED = "mlops.trained_keys", "mlops.erased.trained_keys"
ALL, NONE = "all", "none"
OURS = ("mlops train", "mlops model register-vader")
"""What runs of earlier releases, which have no `TRAINED_ON`, name as their source if we fitted or made the model."""


class Claim(Frozen):
    """What is known of the texts that a model was fitted on, and from whom, in words."""

    origin: Literal["recorded", "declared", "none"]
    words: str


def declared(sides: Sequence[Side]) -> str:
    """The value of `TRAINED_ON` for sides that the present user names."""
    return f"{DECLARED}: {told(sides)}; by {user()}"


def told(sides: Sequence[Side]) -> str:
    """Sides as a person names them."""
    return ALL if set(sides) == set(Side) else ", ".join(sides) or NONE


def seal(run_id: str, artifact_sha256: str, keys: "pd.Series[int]") -> str:
    """A digest of the keys of texts, of the run that they lie in and of its model."""
    content = [run_id, artifact_sha256, hashlib.sha256(keys.to_numpy("uint64").tobytes()).hexdigest()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def check(label: str, run_id: str, tags: Mapping[str, str], keys: "pd.Series[int]") -> None:
    """That keys which lie in a run were put there with its model; in runs of earlier releases nothing tells.

    Raises:
        IntegrityError: They, or the run's model, are other ones.
    """
    known = {tags[name] for name in (SEAL, ERASED) if name in tags}
    if not known and tags.get(TRAINED_ON) != RECORDED:
        return
    if seal(run_id, tags.get(ARTIFACT_SHA256, ""), keys) not in known:
        what = f"{label}: the keys of the texts in its run are not those that were recorded with its model."
        raise IntegrityError(what, "Train it again: mlops train; or register it with what it saw: --trained-on …")


def reseal(tracking_uri: str, run_id: str, before: "pd.Series[int]", after: "pd.Series[int]") -> None:
    """Let a run say what its keys will be once rows are erased from them; where they were not its own it says nothing.

    To be called before they are changed: if that is interrupted, the keys as they were are valid still.
    """
    found = runs.tags(tracking_uri, run_id)
    digest = found.get(ARTIFACT_SHA256, "")
    if seal(run_id, digest, before) in {found.get(SEAL), found.get(ERASED)}:
        with translated():
            client(tracking_uri).set_tag(run_id, ERASED, seal(run_id, digest, after))


def of(model: ModelRef, tags: Mapping[str, str], *, has_keys: bool) -> Claim:
    """The claim of a run with these tags on a model; keys that nobody accounts for count as declared."""
    said = tags.get(TRAINED_ON, "")
    data = f"{tags.get('mlops.data_name', '')} {tags.get('mlops.data_version', '')}".strip()
    if not has_keys:
        return Claim(origin="none", words="nobody said which rows it was trained on")
    if said == RECORDED or (not said and tags.get("mlflow.source.name") in OURS):
        if tags.get(ARTIFACT_SHA256) == model.artifact_sha256:
            return Claim(origin="recorded", words="recorded when it was trained")
        return Claim(origin="declared", words="its run recorded the training of another model")
    if said.startswith(DECLARED):
        sides, _, who = said.removeprefix(f"{DECLARED}: ").partition("; by ")
        return Claim(origin="declared", words=f"trained on {sides} of {data}, as {who} says")
    if tags.get("mlops.origin") == "external":
        return Claim(origin="declared", words=f"trained on train of {data}, as whoever registered it says")
    return Claim(origin="declared", words="its run holds keys of texts, and nobody says who put them there")
