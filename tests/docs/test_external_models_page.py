"""Every command and program of docs/external-models.md runs, in its order."""

from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, exhaustive, write_news
from tests.docs.conftest import Walk

PAGE = (ROOT / "docs/external-models.md").read_text(encoding="utf-8")


@exhaustive  # a page a night: what it goes through has tests of its own
@pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow advises who saves a model
def test_every_command_and_program_runs_in_the_order_of_the_page(walk: Walk) -> None:
    rows = pd.read_csv(write_news(Path("news.csv"), 480))
    swapped = rows["label"].where(rows.index % 5 > 0, rows["label"].shift(1, fill_value="neutral"))  # nobody is perfect
    rows.assign(label=swapped).to_csv("news.csv", index=False)
    assert "positive" in walk(PAGE)
