"""The process tree of one attempt at a task."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GRACE = 2.0
"""Seconds between the request to end and the end."""


class ProcessTree:
    """A process in a session of its own; with its end, whatever it has started ends as well."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
    ) -> "ProcessTree":
        """Start a command in a folder; all it writes goes into one file. Our end of its input stays open."""
        with log.open("ab") as written:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=dict(environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=written,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process)

    async def wait(self) -> int:
        """Wait for the end of the process and take its children along."""
        code = await self._process.wait()
        self.kill()
        return code

    async def end(self, *, at_once: bool) -> None:
        """Make the whole tree end; unless it is to be at once, it is asked to first."""
        if not at_once:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), GRACE)
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
