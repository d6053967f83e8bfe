"""Make the pictures of the report, the dashboard and the queue in docs/pictures with Chromium.

Run it where `cifar-tune study run dropout` has just run; two trials of that study are queued:

python PATH/.ci/browser_pictures.py
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from playwright.sync_api import Browser, ViewportSize, sync_playwright

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
EVIDENCE = ROOT / "tests" / "data" / "results" / "transfer.json"
STORAGE = Path("storage/cifar-tune.db")
STUDY = "dropout:quick"
PROGRAM = (sys.executable, "-m", "cifar_tune")
MILLISECONDS = 120_000
SCALE = 0.75


def main() -> None:
    """Make all three pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        report = write_report(Path(folder))
        take(browser, report.as_uri(), "report", (1200, 1560), ".plot-wide svg")
        with serve() as url:
            study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{STORAGE}")
            trials = f"{url}/dashboard/studies/{study._study_id}/trials"
            best = f"{trials}?numbers={study.best_trial.number}"
            take(browser, best, "dashboard", (1280, 1700), "text=learning-curves.png")
            queue(url, dropout_rate="0.35", learning_rate="0.0008")
            queue(url, augmentation_strength="0.5")
            take(browser, f"{url}/queue/{STUDY}", "queue", (1100, 960), "text=0 of 3")
        browser.close()


def take(browser: Browser, url: str, name: str, size: tuple[int, int], awaited: str) -> None:
    """Take a picture of a page of that size, scaled down, when an element is there."""
    viewport: ViewportSize = {"width": size[0], "height": size[1]}
    page = browser.new_page(viewport=viewport, device_scale_factor=SCALE)
    page.goto(url)
    page.locator(awaited).first.wait_for(timeout=MILLISECONDS)
    page.wait_for_timeout(3000)  # fonts and figures are drawn after
    page.screenshot(path=PICTURES / f"{name}.png")
    page.close()


def write_report(folder: Path) -> Path:
    """Write the report of a study of RESULTS.md."""
    storage = ("--storage", "results.db")
    options = ("--profile", "assignment", "--set", "weights=tiny-imagenet-32")
    for command in (
        ("study", "import", str(EVIDENCE), *storage),
        ("report", "transfer", *options, *storage, "--out", "report.html"),
    ):
        subprocess.run([*PROGRAM, *command], cwd=folder, check=True)
    return folder / "report.html"


@contextmanager
def serve() -> Iterator[str]:
    """Serve the storage of this folder; yield the address."""
    command = [*PROGRAM, "serve", "--port", "0", "--storage", str(STORAGE)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        lines = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stdout)
        yield next(found.group() for found in lines if found)
    finally:
        server.terminate()
        server.wait()


def queue(url: str, **values: str) -> None:
    """Queue a trial as the form does."""
    data = urllib.parse.urlencode({"study_name": STUDY, **values}).encode()
    request = urllib.request.Request(f"{url}/queue/trials", data, {"Origin": url})
    urllib.request.urlopen(request).close()


if __name__ == "__main__":
    main()
