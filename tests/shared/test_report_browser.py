"""The built site in a real browser, opened as files: no console error, nothing from the network, filters and search work, nothing overflows a phone.

Chromium is spoken to over its debugging pipe, so no driver is needed; without a system chromium the tests are skipped and say so.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from shared.engine.report import build_site
from tests.shared.test_report import HOSTILE, PAPERS, repository

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("quic", "background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe", *(f"--disable-{what}" for what in QUIET)]


class Browser:
    """One chromium with one tab; ``problems`` collects console errors, exceptions and failed or remote requests."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        commands, self.write = os.pipe()
        self.read, replies = os.pipe()
        # The pipe protocol is fixed to descriptors 3 (commands) and 4 (replies).
        shell = f'exec "$@" 3<&{commands} 4>&{replies}'
        command = ["bash", "-c", shell, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen(command, pass_fds=(commands, replies), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(replies)
        self.buffer, self.count, self.events, self.session, self.problems = b"", 0, [], None, []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def message(self, timeout: float = 30) -> dict:
        deadline = time.monotonic() + timeout
        while b"\0" not in self.buffer:
            if not select.select([self.read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("chromium did not answer")
            self.buffer += os.read(self.read, 1 << 20)
        line, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(line)
        self.notice(message.get("method"), message.get("params", {}))
        return message

    def notice(self, method: str | None, params: dict) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"].get("exception", {}).get("description", params["exceptionDetails"]["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Network.requestWillBeSent" and params["request"]["url"].startswith("http"):
            self.problems.append(f"remote request {params['request']['url']}")
        elif method == "Page.loadEventFired":
            self.loaded = True

    def call(self, method: str, **params) -> dict:
        self.count += 1
        request = {"id": self.count, "method": method, "params": params} | ({"sessionId": self.session} if self.session else {})
        os.write(self.write, json.dumps(request).encode() + b"\0")
        while (reply := self.message()).get("id") != self.count:
            pass
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def open(self, page: Path, fragment: str = "", width: int = 1280, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.loaded = False
        self.call("Page.navigate", url=page.as_uri() + fragment)
        while not self.loaded:
            self.message()

    def js(self, expression: str):
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            raise RuntimeError(reply["exceptionDetails"]["exception"]["description"])
        return reply["result"].get("value")

    def wait(self, expression: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(RuntimeError):  # what it asks about is not there yet, or the page is changing
                if self.js(expression):
                    return
            time.sleep(0.05)
        raise AssertionError(f"never true: {expression}")

    def type(self, text: str) -> None:
        for letter in text:
            self.call("Input.dispatchKeyEvent", type="keyDown", text=letter, key=letter)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def screenshot(self, path: Path, full: bool = False) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]))

    def close(self) -> None:
        with suppress(OSError, RuntimeError, TimeoutError, json.JSONDecodeError):
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        os.close(self.read)
        os.close(self.write)
        self.profile.cleanup()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("zensical", reason="zensical is not installed (dependency group report)")
    root = tmp_path_factory.mktemp("repository")
    with repository(root):
        build_site(root, root / "site")
    return root / "site"


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium):
    """The browser; a test that uses it fails when a page complained or asked for something from the network."""
    chromium.problems.clear()
    yield chromium
    assert chromium.problems == []


SHOWN = "[...document.querySelectorAll('tr[data-claims]')].filter((row) => row.offsetParent).map((row) => row.querySelector('a').textContent)"


def choose(browser: Browser, name: str, value: str) -> list[str]:
    """Set a filter as a user does; the titles of the rows that are left."""
    browser.js(f"(() => {{ const field = document.querySelector('.filters [name={name}]'); field.value = {value!r}; "
               "field.dispatchEvent(new Event('input', {bubbles: true})); })()")  # fmt: skip
    return browser.js(SHOWN)


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_opens_without_complaint_and_fits(browser, site, width):
    for page in sorted(site.rglob("*.html")):
        browser.open(page, width=width)
        assert browser.js("document.documentElement.scrollWidth <= innerWidth"), page
        assert browser.js("innerWidth") == width, page
        assert browser.js("[...document.images].filter((image) => image.loading != 'lazy').every((image) => image.naturalWidth)"), page


def test_filters_narrow_the_table_and_live_in_the_address(browser, site):
    browser.open(site / "index.html")
    assert len(browser.js(SHOWN)) == len(PAPERS)
    assert choose(browser, "framework", "torch") == [HOSTILE, "Noisy Labels"]
    assert choose(browser, "verdict", "contradicted") == [HOSTILE]
    assert choose(browser, "scale", "reduced") == []
    assert browser.js("document.querySelector('.filters output').textContent") == f"0 of {len(PAPERS)} papers"
    browser.js("document.querySelector('.filters [type=reset]').click()")
    browser.wait(f"{SHOWN}.length == {len(PAPERS)} && location.hash == ''")
    assert choose(browser, "family", "vision") == ["Noisy Labels"]
    assert choose(browser, "family", "") and choose(browser, "text", "POINTER lovelace") == ["Pointer Networks"]
    assert browser.js("location.hash") == "#text=POINTER+lovelace"


def test_verdict_and_scale_must_meet_in_one_claim(browser, site):
    browser.open(site / "index.html")
    choose(browser, "verdict", "reproduced")
    assert choose(browser, "scale", "paper") == ["Pointer Networks"]
    choose(browser, "verdict", "inconclusive")
    assert choose(browser, "scale", "proxy") == []


def test_a_linked_view_opens_filtered(browser, site):
    browser.open(site / "index.html")
    browser.js("document.querySelector('a.tile.v-not-run').click()")
    browser.wait("location.pathname.endsWith('claims.html')")
    browser.wait(f"document.readyState == 'complete' && {SHOWN}.join() == 'Not Recorded'")
    assert browser.js("document.querySelector('.filters [name=verdict]').value") == "not run"


@pytest.mark.parametrize("page", ["index.html", "papers/pointer_networks.html"])
def test_search_works_from_files_and_leads_to_the_paper(browser, site, page):
    box = "[...document.body.children].map((element) => element.shadowRoot).find(Boolean)"
    browser.open(site / page)
    browser.js("document.querySelector('.md-search__button').click()")
    browser.wait(f"{box}.activeElement?.tagName == 'INPUT'")
    browser.type("zebra noisy")
    browser.wait(f"{box}.querySelector('[role=status]').textContent == '1 result'")
    assert browser.js(f"{box}.querySelector('input').value") == "zebra noisy"
    browser.js(f"{box}.querySelector('[role=listbox] a').click()")
    browser.wait("location.pathname.endsWith('papers/noisy_labels.html')")
