"""An erasure for a child of a zygote, which may kill itself on the way."""

from pathlib import Path
from typing import Any

from lifecycle import settings
from lifecycle.erasure.erase import erase
from lifecycle.erasure.wanted import Subject
from tests.faults.effects import watch


def carry_out(order: dict[str, Any]) -> None:
    """Erase, and write down how many side effects that had; opening a database is one."""
    effects, finished = watch(order["home"], order["kill_at"], also="sqlite3.connect")
    erase([settings.load("dev", home=Path(order["home"]))], Subject.model_validate(order["subject"]))
    finished()
    Path(order["count_file"]).write_text(str(len(effects)), encoding="utf-8")
