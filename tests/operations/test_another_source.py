"""The texts of a model come from another source one day: seen, told, trained anew, and judged, by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, SAMPLE


@pytest.mark.exhaustive
def test_other_texts_are_an_alert_whose_event_starts_a_training_that_is_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    verbs, things = ["Peel", "Slice", "Fry", "Boil"], ["onions", "leeks", "beans", "plums"]
    texts = [f"{rng.choice(verbs)} {number} {rng.choice(things)}" for number in range(500)]
    pd.DataFrame({"Sentence": texts}).to_csv(tmp_path / "other.csv", index=False)
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "PREFECT_"))}
    command = [sys.executable, "-m", "benchmarks.another_source", str(SAMPLE), str(tmp_path / "other.csv"), "--json"]
    done = subprocess.run(command, cwd=ROOT, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["clean alerts"] == []
    (told,) = [alert for alert in found["alerts"] if ": drift since " in alert]
    assert "unseen words of text" in told
    assert found["events"][0].startswith(f"drift-v1-{found['changed on']}")
