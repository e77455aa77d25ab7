"""Every command and program of the README runs, and every file that it names exists."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest

from cli.main import main
from lifecycle.gate.proof import replay
from tests.conftest import OFTEN, ROOT, free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines() if line]


def test_every_command_runs_in_the_order_of_the_readme(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, the gate's fresh process included: what that costs and proves is tested elsewhere."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    _write_table(tmp_path / "my.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.setattr(replay, "_in_fresh_process", replay.replay)
    monkeypatch.setattr(replay, "ahead", lambda _=None: nullcontext())
    commands = [shlex.split(command) for command in COMMANDS if command.startswith("mlops ")]
    operating = commands.index(["mlops", "up", "--detach"])
    for command in commands[:operating]:
        monkeypatch.setattr(sys, "argv", [*command, *(["--yes"] if command[1] == "init" else [])])  # no terminal here
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        printed = capsys.readouterr()
        assert not end.value.code, f"{command}\n{printed.out}\n{printed.err[-3000:]}"
        assert printed.out.strip(), command
    assert sorted(p.name for p in tmp_path.iterdir()) == [".mlops", "config", "examples", "my.csv"]
    _operate(tmp_path, commands[operating:])


def _write_table(path: Path) -> None:
    """A table of customers: who calls often and has not been here for long leaves, but for one in eleven."""
    lines = ["age,plan,months,calls,paperless,churned"]
    for i in range(600):
        months, calls, plan = 1 + i * 13 % 90, i % 5, ("basic", "plus", "family")[i % 3]
        leaves = (calls * 20 > months) != (i % 11 == 0)
        lines.append(f"{20 + i * 7 % 61},{plan},{months},{calls},{i % 2 == 0},{'yes' if leaves else 'no'}")
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _operate(folder: Path, commands: list[list[str]]) -> None:
    """As processes of their own: Prefect reads the address of its server once. The ports are free ones."""
    ports = ["--port", str(free_port()), "--mlflow-port", str(free_port())]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment |= {**OFTEN, "PYTHONPATH": str(ROOT)}
    assert commands[-1] == ["mlops", "down"]

    def run(*arguments: str) -> None:
        command = [sys.executable, "-m", "cli.main", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr[-3000:]}"
        assert done.stdout.strip(), arguments

    try:
        for command in commands:
            run(*command[1:], *(ports if command[1] == "up" else []))
    finally:
        run("down")


def test_every_other_command_is_a_make_target() -> None:
    others = [c for c in COMMANDS if not c.startswith(("mlops ", "export PATH=", "pip install "))]
    assert others == ["make demo", "make test"]
    for command in others:
        done = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_exit_codes_of_the_documents_are_those_of_the_code() -> None:
    from lifecycle.core import errors

    text = (ROOT / "docs/how-to.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d) \|", text, re.M)}
    raised = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and hasattr(cls, "exit_code")}
    assert raised | {0, 4, 8} == documented


def test_it_is_short_and_its_first_commands_install_define_and_release() -> None:
    assert len(README.split()) <= 900
    assert [command.split()[0:2] for command in COMMANDS[:3]] == [
        ["pip", "install"],
        ["mlops", "init"],
        ["mlops", "release"],
    ]


def test_every_extra_that_is_installed_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r'pip install "\.\[([\w,]+)\]"', README)
    assert {*extras.split(",")} <= {*project["optional-dependencies"]}
