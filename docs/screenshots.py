"""The pictures of the docs, taken anew: `make screenshots`.

A stack of its own comes up with `mlops up`, a release and a refused training run through their deployments, a browser
looks at what a person looks at, and `mlops down` ends it.
"""

import argparse
import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import BrowserContext, Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = Path(__file__).parent / "images"
HOME = Path("/tmp/mlops")  # noqa: S108  paths below it stand in the pictures, so they are short and nobody's
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_BROWSER = (
    "No Chromium on the PATH. Debian: apt-get install chromium. Else: https://www.chromium.org/getting-involved"
)
LOOPBACK_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
TABLE = {"source": "examples/financial_news.csv", "text_column": "Sentence", "label_column": "Sentiment"}
WEAK = {"model_type": "random_forest", "model_params": "{'max_depth': 1}"}
BETTER = {"model_type": "naive_bayes"}
MOST_BYTES = 250_000


def main() -> None:
    """Bring everything up, take the pictures, and leave nothing behind."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--files", action="store_true", help="only the pages that are files, which need no servers")
    only_files = options.parse_args().files
    browser = next(filter(None, map(shutil.which, BROWSERS)), None) or sys.exit(NO_BROWSER)
    if HOME.exists():
        sys.exit(f"{HOME} is there already: move it away, this would delete it.")
    shutil.copytree(ROOT / "config", HOME / "config")
    try:
        if not only_files:
            take_services(browser)
        with window(browser) as context:
            take_comparison(context.new_page())
            take_monitoring(context.new_page())
    finally:
        shutil.rmtree(HOME)


def take_services(browser: str) -> None:
    """The pages of the servers of `mlops up`, and a verdict that came about there."""
    with stack() as (prefect, mlflow):
        release = trigger("release/all", {**TABLE, "data_version": "1.0.0"}, code=0)
        refused = trigger("train/dev", WEAK, code=4)
        asking = ask_a_person("train/prod", BETTER)
        with window(browser) as context:
            for link in json.loads(mlops("status", "--json"))["open"].values():
                context.new_page().goto(link)
            take_prefect(context.new_page(), prefect, release, refused)
            take_approval(context.new_page(), prefect, asking)
            take_mlflow(context.new_page(), mlflow)
            take_report(context.new_page())


@contextmanager
def stack() -> Iterator[tuple[str, str]]:
    """Everything up on free ports, with prod's schedules on and its notifications sent to nowhere."""
    with (HOME / "config" / "prod.yaml").open("a", encoding="utf-8") as settings:
        settings.write("schedules: true\nalerts: custom-webhook/mlops-alerts\n")
    prefect, mlflow = free_port(), free_port()
    try:
        mlops("up", "--detach", "--port", str(prefect), "--mlflow-port", str(mlflow))
        yield f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}"
    finally:
        mlops("down")


def mlops(*arguments: str, code: int = 0) -> str:
    """Run a command in this state directory and return what it printed."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "PREFECT_", "MLFLOW_"))}
    ours = {"MLOPS_HOME": HOME, "MLOPS_CONFIG_DIR": HOME / "config", "MLOPS_ALERTS_URL": "http://127.0.0.1:9/"}
    command = [sys.executable, "-m", "cli.main", *arguments]
    environment = outside | {key: str(value) for key, value in ours.items()}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode != code:
        sys.exit(f"mlops {' '.join(arguments)} ended with {done.returncode}, not {code}.")
    return done.stdout


def trigger(deployment: str, parameters: dict[str, str], *, code: int) -> str:
    """Run a deployment to its end and return the number of its flow run."""
    pairs = [argument for name, value in parameters.items() for argument in ("--param", f"{name}={value}")]
    return str(json.loads(mlops("trigger", deployment, *pairs, "--json", code=code))["flow_run_id"])


def ask_a_person(deployment: str, parameters: dict[str, str]) -> str:
    """Let prod's promotions need a person from now on; start a run and return its number once it waits for one."""
    with (HOME / "config" / "prod.yaml").open("a", encoding="utf-8") as settings:
        settings.write("approval: {required: true}\n")
    pairs = [argument for name, value in parameters.items() for argument in ("--param", f"{name}={value}")]
    mlops("trigger", deployment, *pairs, "--timeout", "1", code=6)  # it goes on
    for _ in range(60):
        if found := json.loads(mlops("approve", "--list", "--json")):
            return str(found[0]["flow_run_id"])
        time.sleep(2)
    sys.exit(f"{deployment} asks nobody.")


@contextmanager
def window(browser: str, *addresses: str) -> Iterator[BrowserContext]:
    """A fresh browser that reaches nothing but this machine, at further addresses of it too."""
    rules = ", ".join([LOOPBACK_ONLY, *(f"EXCLUDE {each}" for each in addresses)])
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=browser, args=["--disable-gpu", rules]) as chromium,
    ):
        yield chromium.new_context(locale="en-US", timezone_id="Europe/Helsinki")


def take_prefect(page: Page, server: str, release: str, refused: str) -> None:
    """The pages of Prefect's UI."""
    api, ui = f"{server}/api", f"{server}/v2"
    train = ask(f"{api}/deployments/name/train/dev")["id"]
    card, verdict = (
        artifact(api, release, "model-card-prod-ml-sentiment"),
        artifact(api, refused, "verdict-dev-ml-sentiment"),
    )
    take(page, "deployments", f"{ui}/deployments?limit=100", "At 07:00 AM")
    take(page, "train-form", f"{ui}/deployments/deployment/{train}/run", "What to train, such as", height=1150)
    take(page, "release", f"{ui}/runs/flow-run/{release}?tab=Artifacts", "model-card-prod-ml-sentiment", height=1100)
    take(page, "model-card", f"{ui}/artifacts/artifact/{card}", "Intended use")
    take(page, "rejected", f"{ui}/runs/flow-run/{refused}?tab=Details", "worse than", height=1150)
    take(page, "verdict", f"{ui}/artifacts/artifact/{verdict}", "against the champion")
    take(page, "automations", f"{ui}/automations", "prod: promoted", height=1250)


def take_approval(page: Page, server: str, asking: str) -> None:
    """The form of a promotion that waits for a person."""
    address = f"{server}/v2/runs/flow-run/{asking}"
    take(page, "approval", address, "The verdict that this answer is for", height=2000, menu="Resume")


def take_mlflow(page: Page, server: str) -> None:
    """The page of the training run, which leads back to Prefect."""
    search = {"experiment_ids": ["1"], "filter": "tags.`gate.prod` LIKE 'promote%'"}
    run = ask(f"{server}/api/2.0/mlflow/runs/search", search)["runs"][0]["info"]["run_id"]
    page.goto(f"{server}/#/experiments")
    page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    page.get_by_text("Model training").click()
    take(page, "mlflow-run", f"{server}/#/experiments/1/runs/{run}", "Registered models")


def take_report(page: Page) -> None:
    """The report of the verdict that refused the weak model: a file that anybody can be sent."""
    reports = HOME.rglob("verdicts/dev-*.html")
    refused = next(path for path in reports if "<strong>Refused</strong>" in path.read_text(encoding="utf-8"))
    take(page, "verdict-report", refused.as_uri(), "Slices of the rows", height=1500)


def take_comparison(page: Page) -> None:
    """The page that compares a refused model with the champion, and the one of their dataset version."""
    news, model = HOME / "news.csv", ("--model-name", "news")
    mlops("data", "sample", str(news))
    mlops("init", str(news), *model, "--yes")
    mlops("release", *model, "--to", "dev")
    mlops("train", *model, "--algorithm", "random_forest", "--params", "{'max_depth': 1}", code=4)
    weak = json.loads(mlops("runs", *model, "--algorithm", "random_forest", "--json"))[0]["run_id"]
    path = HOME / "compared.html"
    mlops("compare", weak, "dev", *model, "--html", str(path))
    take(page, "comparison", path.as_uri(), "Slices of the rows", height=1500)
    report = next(HOME.rglob("data/news/*/report.html"))
    take(page, "data-report", report.as_uri(), "Expectations", height=1100)


def take_monitoring(page: Page) -> None:
    """The page of a model whose thermometer tells degrees Fahrenheit from one day on."""
    hours(600, 0).to_csv(HOME / "bikes.csv", index=False)
    model, day, late = ("--model-name", "bikes", "--env", "dev"), HOME / "day.csv", list[pd.DataFrame]()
    mlops("init", str(HOME / "bikes.csv"), "--model-name", "bikes", "--target", "cnt", "--key", "hour", "--yes")
    mlops("release", "--model-name", "bikes", "--to", "dev")
    for number in range(1, 13):
        rows = hours(200, number)
        late.append(rows)
        rows = rows.assign(temp=rows["temp"] * 1.8 + 32) if number > 8 else rows
        rows.drop(columns="cnt").to_csv(day, index=False)
        mlops("infer", *model, "--input", str(day), "--logical-date", f"2026-11-{number:02}")
    pd.concat(late).to_csv(day, index=False)
    mlops("monitor", "labels", *model, "--input", str(day), "--slice-column", "weather")
    path = HOME / "bikes.html"
    mlops("monitor", "report", *model, "--html", str(path))
    take(page, "monitoring", path.as_uri(), "Drift", height=1500)


def hours(count: int, seed: int) -> pd.DataFrame:
    """Hours with their weather, and how many bikes were out."""
    r = np.random.default_rng(seed)
    temp, wind = r.uniform(0, 30, count).round(1), r.gamma(2, 5, count).round(1)
    weather = r.choice(["clear", "mist", "rain"], count, p=[0.6, 0.3, 0.1])
    out = np.clip(8 * temp - 2 * wind - 60 * (weather == "rain") + 60 + r.normal(0, 20, count), 0, None).round()
    hour = [f"{seed}-{number}" for number in range(count)]
    return pd.DataFrame({"hour": hour, "temp": temp, "wind": wind, "weather": weather, "cnt": out.astype(int)})


def take(page: Page, name: str, address: str, awaited: str, *, height: int = 900, menu: str = "") -> None:
    """Save a page as a picture once it shows a text, of which an entry of its menu may open more, and stands still."""
    page.set_viewport_size({"width": 1400, "height": height})
    page.goto(address)
    if menu:
        page.get_by_role("button", name="Open menu").click(timeout=60_000)
        page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_text(awaited).first.wait_for(timeout=60_000)
    page.wait_for_timeout(4000)  # timelines are drawn, and panels slide in
    if page.locator("[data-sonner-toast]").count():
        sys.exit(f"{name}: the page shows a message.")
    path = IMAGES / f"{name}.png"
    whose = page.get_by_text(f"{socket.gethostname()}:")  # whoever takes the pictures keeps the machine's name
    shown = page.get_by_role("dialog") if menu else page
    picture = Image.open(io.BytesIO(shown.screenshot(mask=[whose], mask_color="#f3f3f3"))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        sys.exit(f"{path} has {path.stat().st_size} bytes: more than {MOST_BYTES}.")


def artifact(api: str, flow_run: str, key: str) -> str:
    """The number of a flow run's artifact."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [flow_run]}, "key": {"any_": [key]}}}
    return str(ask(f"{api}/artifacts/filter", wanted)[0]["id"])


def ask(address: str, body: Any = None) -> Any:
    """What a server of `mlops up` answers to whoever shows its credential."""
    content = None if body is None else json.dumps(body).encode()
    shown = base64.b64encode((HOME / "services" / "credential").read_bytes()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {shown}"}
    with urlopen(Request(address, content, headers)) as answer:  # noqa: S310
        return json.load(answer)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
