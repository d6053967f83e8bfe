"""The dashboard and the queue in a real browser: headless Chromium against a live service."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from processes import Runner, kill_all, write_study
from served import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, _NAMES) if found), "")
TOKEN = "a token for this test"
SECONDS = 60.0

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome, which is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Debian's Chromium refuses to run as root with its sandbox.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that has run a small study."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "studies").mkdir()
    write_study(folder / "studies" / "tiny.toml", 1, epochs=4, names=("tiny/p=0.1", "tiny/p=0.4"))
    with Served(folder, "tiny") as service:
        service.wait_for("trial 4 (sampled)  complete")
        service.wait_until("Idle.")
        yield service
    kill_all()


@contextmanager
def open_page(browser: Browser, url: str, *, expected: tuple[str, ...] = ()) -> Iterator[Page]:
    """A page without errors in its console, that asks this server and no other.

    Args:
        expected: parts of errors that are to be there.
    """
    errors: list[str] = []
    hosts: set[str] = set()
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(SECONDS * 1000)
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda asked: hosts.add(re.sub(r"^(\w+://[^/]*).*", r"\1", asked.url)))
    yield page
    page.close()
    assert [one for one in errors if not any(part in one for part in expected)] == []
    assert {host for host in hosts if not host.startswith(("data:", "blob:"))} == {url}


def test_study_list_study_page_notes_and_plots(browser: Browser, served: Served) -> None:
    with open_page(browser, served.url) as page:
        page.goto(served.url)
        page.get_by_text("tiny:quick").first.click()
        page.wait_for_url(re.compile(r"/dashboard/studies/1"))
        # The plots are drawn: their own lines and points are there, not only axes. Ours are the
        # last ones.
        page.locator(".js-plotly-plot .scatterlayer .trace .points path").first.wait_for()
        for name in ("accuracy-by-dropout-rate", "accuracy-against-time"):
            own = page.locator(f"#{name}, [id*='{name}']").first
            own.scroll_into_view_if_needed()
            own.locator(".scatterlayer .trace .points path").first.wait_for()
        page.goto(f"{served.url}/dashboard/studies/1/note")
        page.get_by_role("heading", name="Killed at random moments").wait_for()
        assert "p=0.4" in page.locator("table").first.inner_text()


def test_a_trials_note_and_its_pictures(browser: Browser, served: Served) -> None:
    with open_page(browser, served.url) as page:
        page.goto(f"{served.url}/dashboard/studies/1/trials?numbers=0")
        page.get_by_role("heading", name="tiny/p=0.1/seed=1").first.wait_for()
        page.get_by_text("cifar-tune trial rerun").first.wait_for()
        pictures = page.locator('img[src*="/artifacts/"]')
        pictures.first.wait_for()
        page.wait_for_function(
            """() => {
              const found = [...document.querySelectorAll('img[src*="/artifacts/"]')];
              const isDrawn = one => one.complete && one.naturalWidth > 300;
              return found.length >= 2 && found.every(isDrawn);
            }"""
        )
        for name in ("learning-curves.png", "confusion-matrix.png", "metrics.csv"):
            assert page.get_by_text(name).count() >= 1


def test_a_trial_is_queued_seen_running_and_found_in_the_dashboard(
    browser: Browser, served: Served
) -> None:
    with open_page(browser, served.url, expected=("400 (Bad Request)",)) as page:
        page.goto(f"{served.url}/dashboard/studies/1/note")
        page.locator('a[href*="/queue/tiny"]').first.wait_for()
        page.goto(f"{served.url}/queue/tiny:quick")
        page.fill("#dropout_rate", "0.99")
        page.get_by_role("button", name="Queue the trial").click()
        page.get_by_text("expected a number from 0 to 0.6").wait_for()
        page.fill("#dropout_rate", "0.25")
        page.fill("#seed", "7")
        page.get_by_role("button", name="Queue the trial").click()
        page.get_by_text("The trial is queued.").wait_for()
        page.locator("table.running progress").first.wait_for()
        assert "dropout 0.25" in page.locator("table.running").inner_text()
        done = page.get_by_role("link", name="trial 5")
        done.wait_for()
        done.click()
        page.get_by_text("dropout_rate").first.wait_for()
        page.get_by_text("0.25").first.wait_for()


def test_stop_and_continue(browser: Browser, served: Served) -> None:
    with open_page(browser, served.url) as page:
        page.goto(f"{served.url}/queue")
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()
        page.get_by_role("button", name="Run what is left").first.click()
        page.get_by_role("button", name="Cancel").wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("cancelled").first.wait_for()
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("Idle.").wait_for()


def test_a_token_is_asked_for(browser: Browser, served: Served) -> None:
    storage = str(served.folder / "s.db")
    shown = Runner(
        served.folder, "dashboard", "--port", "0", "--storage", storage, "--token", TOKEN
    )
    assert shown.wait_for_line("Ctrl-C stops it"), shown.text
    url = re.findall(r"http://127\.0\.0\.1:\d+", shown.text)[0]
    with open_page(browser, url, expected=("401 (Unauthorized)",)) as page:
        page.goto(url)
        page.locator("input").first.fill("the wrong token, and long")
        page.get_by_role("button").click()
        assert page.get_by_text("tiny:quick").count() == 0
        page.locator("input").first.fill(TOKEN)
        page.get_by_role("button").click()
        page.get_by_text("tiny:quick").first.wait_for()
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert TOKEN not in cookie["value"]
