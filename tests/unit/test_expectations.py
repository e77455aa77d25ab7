"""Great Expectations is imported without what it never needs here, whether or not the process uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PARTS = [
    "altair",
    "altair.vegalite",
    "pyspark",
    "pyspark.sql.connect",
    "scipy.stats",
    "scipy.stats._stats_py",
    "sqlalchemy",
]
"""Packages that are spared, and a part of each whose stand-in bears the name."""


def _printed(program: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("before", [[], ["pyspark", "scipy.stats", "scipy.stats._stats_py"]], ids=["fresh", "in use"])
def test_its_import_brings_nothing_that_is_spared_and_leaves_what_is_in_use(before: list[str]) -> None:
    program = "".join(f"import {name}; " for name in [*before, "sys"]) + (
        "from lifecycle.data import expectations; "
        f"print(expectations.gx.__name__, sorted({{*{PARTS}}} & set(sys.modules)))"
    )
    assert _printed(program) == f"great_expectations {before}\n"


def test_meanwhile_another_thread_may_import_them() -> None:
    program = (
        "import sys, threading; from lifecycle.data import expectations; found = []\n"
        "def work():\n"
        "    import pyspark, scipy.stats\n"
        "    from scipy.stats import norm\n"
        "    from scipy.stats.distributions import poisson\n"
        "    found.extend([pyspark.__name__, norm.name, poisson.name, type(scipy.stats).__name__])\n"
        "with expectations._spared():\n"
        "    from scipy import stats\n"
        "    other = threading.Thread(target=work); other.start(); other.join()\n"
        "import scipy.stats\n"
        "print(found, type(stats).__name__, scipy.stats is sys.modules['scipy.stats'], stats.norm is scipy.stats.norm)"
    )
    assert _printed(program) == "['pyspark', 'norm', 'poisson', 'module'] _StandIn True True\n"


def test_what_is_imported_later_works_once_it_is_asked_for() -> None:
    program = (
        "import sys; from lifecycle.data import expectations\n"
        "from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as asked\n"
        "print(asked.stats.entropy([0.5, 0.5]) > 0.6, asked.alt.Chart.__name__)\n"
        "import scipy.stats; from scipy import stats; import altair\n"
        "print(stats is scipy.stats is sys.modules['scipy.stats'], type(stats).__name__, type(altair).__name__)"
    )
    assert _printed(program) == "True Chart\nTrue module module\n"


def test_to_make_a_dataset_asks_for_none_of_them_and_for_nothing_that_models_need(tmp_path: Path) -> None:
    table = tmp_path / "news.csv"
    table.write_text("text,label\n" + "".join(f"news number {n},{'good' if n % 2 else 'bad'}\n" for n in range(60)))
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from flows import create_data\n"
        "from lifecycle import settings\n"
        "from lifecycle.data import dataset\n"
        "from lifecycle.data.source import Source\n"
        "folder = Path(sys.argv[1])\n"
        "config = settings.load('dev', home=folder / 'state')\n"
        "config.datasets.mkdir(parents=True)\n"
        "source = Source(uri=str(folder / 'news.csv'))\n"
        "dataset.create(dataset.plan(config, source, data_name='news', data_version='1'))\n"
        f"print(sorted({{*{PARTS}, 'mlflow', 'sklearn', 'skops', 'matplotlib'}} & set(sys.modules)))"
    )
    assert _printed(program, str(tmp_path)) == "[]\n"
