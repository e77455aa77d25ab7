"""The reference job by the product: what the `mlops` command does, with a flow of its own and a clock beside it.

`python -m benchmarks.reference TABLE DATA_VERSION [--params JSON] [--clock FILE]`, the state under `MLOPS_HOME`.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer

import flows
from cli import runner
from cli.lazy import Place
from cli.main import Root, main
from cli.server import Server

flows.__path__.append(str(Path(__file__).parent / "flows"))
runner.HEAVY["reference_job"], runner.PROVING = runner.HEAVY["release"], (*runner.PROVING, "reference_job")

Root.places = {**Root.places, "reference": Place("benchmarks.reference", "reference", "Run the reference job.")}


def reference(
    table: str,
    data_version: str,
    params: Annotated[str, typer.Option(help="Parameters of the model, as JSON.")] = "{}",
    clock: Annotated[Path | None, typer.Option(help="Write here when each phase began.")] = None,
) -> None:
    """Run the reference job."""
    from lifecycle import settings
    from lifecycle.core.names import Environment

    marks = Marks()
    runner.own_server = marks.around(runner.own_server)
    parameters = {
        "source": str(Path(table).absolute()),
        "data_version": data_version,
        "model_params": json.loads(params),
    }
    config = settings.load(Environment.DEV)
    typer.echo(runner.run_flow("reference_job", parameters, home=config.state, title="The reference job"))
    if clock:
        clock.write_text(json.dumps(marks.times))


class Marks:
    """When each phase of a command began: the runner's own hooks, without a line in the product for it."""

    def __init__(self) -> None:
        self.times = {"command": time.time()}

    def around(
        self, server: Callable[..., AbstractContextManager[Server]]
    ) -> Callable[..., AbstractContextManager[Server]]:
        """Mark when a server is asked for, waited for, and left."""

        @contextmanager
        def marked(*arguments: object, **named: object) -> Iterator[Server]:
            with server(*arguments, **named) as started:

                def waited() -> None:
                    self.times["wait"] = time.time()
                    started.wait()
                    self.times["flow"] = time.time()

                yield started._replace(wait=waited)
                self.times["end"] = time.time()
            self.times["left"] = time.time()

        return marked


if __name__ == "__main__":
    main()
