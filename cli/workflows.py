"""`mlops init --github`: the workflows that come with the package, written for a project of one's own."""

from collections.abc import Iterator
from pathlib import Path

from cli import console, runner, show
from cli.operations import project
from lifecycle.core.errors import ConfigError
from lifecycle.settings import definitions, files
from lifecycle.storage.files import publish_file

NAMES = ("create-data", "train", "promote", "rollback", "inference", "deploy")
PLACES = (project.SHIPPED / "workflows", project.SHIPPED / ".github" / "workflows")
"""In a wheel, and in a checkout."""
OF_A_CHECKOUT = "\n  databricks:\n"
"""Where a workflow goes on with what a checkout alone has: its bundle."""
SETUP = "      - run: make setup\n"
INSTALLED = """      - name: Install
        env:
          PACKAGE: ${{ vars.MLOPS_PACKAGE || 'mlops-lifecycle[prefect]' }}
        run: python -m venv .venv && .venv/bin/pip install --quiet "$PACKAGE"
"""
WORKER_SETUP = '          make -C "$WORKER_DIR" setup\n'
SHELL = "    shell: bash # with pipefail\n"


def write(model_name: str | None, *, force: bool, dry_run: bool, as_json: bool) -> None:
    """Write the workflows of the project that the working directory is in; what is there is only replaced after a yes.

    Raises:
        ConfigError: There is no project, or no yes.
    """
    here = files.project()
    if here is None:
        raise ConfigError(f"{Path.cwd()} is in no project.", "Define a model first: mlops init TABLE")
    name = definitions.chosen(model_name)[0]
    top = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    wanted = {top / ".github" / "workflows" / f"{file}.yml": text for file, text in _texts(name, here, top)}
    new = {path: text for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text}
    other = [path.name for path in new if path.exists()]
    if other and not dry_run:
        runner.confirm(f"Write over {show.and_(other)} in {top / '.github' / 'workflows'}?", force, "--force")
    for path, text in new.items() if not dry_run else ():
        path.parent.mkdir(parents=True, exist_ok=True)
        with publish_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if as_json:
        show.print_json({"files": list(map(str, wanted)), "written": [] if dry_run else list(map(str, new))})
        return
    for path in wanted:
        console.echo(f"{path}: {'there already' if path not in new else 'would be written' if dry_run else 'written'}")
    console.echo(
        "They start deployments on a Prefect server: set PREFECT_API_URL and the environments in the repository."
    )


def _texts(model_name: str, here: Path, top: Path) -> Iterator[tuple[str, str]]:
    place = next((place for place in PLACES if place.is_dir()), None)
    if place is None:
        raise ConfigError("This installation carries no workflows.", "Install the package anew.")
    for file in NAMES:
        text = (place / f"{file}.yml").read_text(encoding="utf-8").partition(OF_A_CHECKOUT)[0].rstrip("\n") + "\n"
        text = text.replace(SETUP, INSTALLED)
        text = text.replace(
            WORKER_SETUP, '          "$WORKER_DIR/.venv/bin/pip" install --quiet --upgrade "$PACKAGE"\n'
        )
        text = text.replace(
            "          WORKER_DIR: ${{ vars.PROJECT_DIR }}\n",
            "          WORKER_DIR: ${{ vars.PROJECT_DIR }}\n"
            "          PACKAGE: ${{ vars.MLOPS_PACKAGE || 'mlops-lifecycle[prefect]' }}\n",
        )
        if here != top:
            text = text.replace(SHELL, f"{SHELL}    working-directory: {here.relative_to(top).as_posix()}\n")
        yield file, _of_model(text, model_name) if project.is_generated() else text


def _of_model(text: str, model_name: str) -> str:
    """A workflow that starts the deployments of models, which are called after theirs."""
    if "MODEL_NAME: ${{ inputs.model_name }}" not in text:
        return text.replace('/$TARGET_ENV"', f'/{model_name}-$TARGET_ENV"')
    text = text.replace(
        "MODEL_NAME: ${{ inputs.model_name }}", f"MODEL_NAME: ${{{{ inputs.model_name || '{model_name}' }}}}"
    )
    return text.replace('/$TARGET_ENV"', '/$MODEL_NAME-$TARGET_ENV"')
