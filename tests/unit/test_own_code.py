"""Code by dotted path: what belongs to it, what it digests to, and that two states of it run side by side."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core import own_code
from lifecycle.core.errors import ConfigError, IntegrityError

FILES = {
    "ours/__init__.py": "",
    "ours/models.py": "from ours.deep import names\nfrom .ages import year\n\n\ndef made():\n    return year()\n",
    "ours/ages.py": "from . import years\n\n\ndef year():\n    return years.FIRST\n",
    "ours/years.py": "FIRST = 1900\n",
    "ours/deep/__init__.py": "from ..plain import word\n",
    "ours/deep/names.py": "import ours.plain\n",
    "ours/plain.py": "word = 1\n",
    "ours/other.py": "raise SystemExit(3)\n",
    "theirs.py": "",
}
BELONGING = {*FILES} - {"ours/other.py", "theirs.py"}


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    put(tmp_path, FILES)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_what_a_module_imports_of_its_package_belongs_to_it(project: Path) -> None:
    files = own_code.sources("ours.models:made")
    assert set(files) == BELONGING
    assert files["ours/years.py"] == b"FIRST = 1900\n"
    assert "ours" not in sys.modules
    assert set(own_code.sources("theirs:all")) == {"theirs.py"}
    assert own_code.carried(project).keys() == FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_the_digest_changes_with_what_belongs_to_it_and_with_nothing_else(project: Path, name: str) -> None:
    before = own_code.digest("ours.models:made")
    (project / name).write_text(FILES[name] + "# more\n")
    assert (own_code.digest("ours.models:made") != before) is (name in BELONGING)
    (project / name).write_bytes(FILES[name].replace("\n", "\r\n").encode())
    assert own_code.digest("ours.models:made") == before


@given(
    st.dictionaries(st.text("ab/", min_size=1), st.binary()), st.dictionaries(st.text("ab/", min_size=1), st.binary())
)
def test_other_sources_have_another_digest(some: dict[str, bytes], others: dict[str, bytes]) -> None:
    def unix(files: dict[str, bytes]) -> dict[str, bytes]:
        return {name: content.replace(b"\r\n", b"\n") for name, content in files.items()}

    assert (own_code.digest_of(some) == own_code.digest_of(others)) is (unix(some) == unix(others))


def test_two_states_of_a_module_run_side_by_side_and_leave_no_trace(project: Path) -> None:
    first = own_code.sources("ours.models:made")
    made = own_code.attribute("ours.models:made", first)
    put(project, {"ours/years.py": "FIRST = 2000\n"})
    with pytest.raises(ConfigError, match=r"ours\.models:made cannot be imported: ModuleNotFoundError"):
        own_code.attribute("ours.models:made", {**first, "ours/deep/names.py": b"import ours.other"})
    later = own_code.attribute("ours.models:made", own_code.sources("ours.models:made"))
    (project / "ours/years.py").unlink()
    assert (made(), later()) == (1900, 2000)
    assert not any(name.partition(".")[0] == "ours" for name in sys.modules)


@pytest.mark.usefixtures("project")
def test_what_was_imported_before_is_there_again() -> None:
    import theirs  # type: ignore[import-not-found]

    files = {"theirs.py": b"state = 2\n"}
    assert own_code.attribute("theirs:state", files) == 2
    assert sys.modules["theirs"] is theirs
    assert not hasattr(theirs, "state")
    del sys.modules["theirs"]


def test_a_package_without_an_init_is_one_too(project: Path) -> None:
    put(project, {"bare/part/module.py": "from bare.part.other import WORD\n", "bare/part/other.py": "WORD = 'x'\n"})
    files = own_code.sources("bare.part.module:WORD")
    assert set(files) == {"bare/part/module.py", "bare/part/other.py"}
    assert own_code.attribute("bare.part.module:WORD", files) == "x"


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("nowhere.at_all:x", "", r"nowhere\.at_all:x: there is no module nowhere\."),
        ("ours.absent:x", "", r"ours\.absent:x: there is no module ours\.absent written in Python"),
        ("math:sqrt", "", r"math:sqrt: there is no module math"),
        ("ours.new:absent", "", r"ours\.new:absent: module 'ours\.new' has no attribute 'absent'"),
        ("ours.new:x", "def broken(:\n", r"ours/new\.py is not Python"),
        ("ours.new:x", "raise SystemExit(0)\n", r"ours\.new:x cannot be imported: SystemExit"),
        ("ours.new:x", "def x():\n    from ours import years\n", r"ours/new\.py, line 2, imports ours within a funct"),
        ("ours.new:x", "class A:\n    def x(self):\n        import ours.years\n", r"line 3, imports ours\.years"),
    ],
)
def test_what_cannot_be_used_is_named(project: Path, path: str, text: str, words: str) -> None:
    put(project, {"ours/new.py": text})
    with pytest.raises(ConfigError, match=words):
        own_code.attribute(path, own_code.sources(path))


def test_trust_is_in_a_module_or_in_a_package_with_all_of_its_modules() -> None:
    assert own_code.is_trusted("ours.models", ["ours"])
    assert own_code.is_trusted("ours.models", ["theirs", "ours.models"])
    assert not own_code.is_trusted("ours", ["ours.models"])
    assert not own_code.is_trusted("ours_too.models", ["ours"])
    with pytest.raises(ConfigError, match=r"ours\.models is not trusted .*MLOPS_TRUSTED_MODULES='\[\"ours\"\]'"):
        own_code.require_trusted("ours.models:made", ())


def test_a_name_that_is_only_borrowed_is_not_own() -> None:
    files = {"ours.py": b"from os import system\nfrom json import loads\nclass Thing: ...\nvalue = 1\n"}
    with own_code.importing(files):
        own_code.require_own(["ours.Thing"], "it")
        for name in ("system", "loads", "value"):
            with pytest.raises(IntegrityError, match=f"it: ours.{name} is not defined in ours"):
                own_code.require_own([f"ours.{name}"], "it")
        with pytest.raises(IntegrityError, match=r"its code has no ours\.Absent"):
            own_code.require_own(["ours.Absent"], "it")
