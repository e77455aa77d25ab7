"""Which code made something."""

import hashlib
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def code_version() -> str:
    """The package's version, with the git commit (and `-dirty`) when it runs from a checkout."""
    try:
        released = version("mlops-lifecycle")
    except PackageNotFoundError:
        released = "0"
    commit = git_commit()
    return f"{released}+{commit[:12]}" if commit else released


@cache
def git_commit() -> str | None:
    """The commit of the checkout this code runs from, `-dirty` appended when tracked files differ; None without git."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],  # noqa: S607  git from PATH
            cwd=root, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def digest_of(folder: Path, sources: Iterable[str]) -> str:
    """The sha256 of source files as they are now, committed or not, whatever their line ends."""
    total = hashlib.sha256()
    for name in sources:
        total.update(f"{name}\n".encode() + (folder / name).read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()
