"""A real browser for tests, Chromium by its driver: `make test-devices` sees to both. What pages look like is kept."""

from __future__ import annotations

import base64
import json
import shutil
import time
from pathlib import Path

SCREENSHOTS = Path(__file__).parents[1] / "build/screenshots"  # for eyes
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WAIT_S = 20


def start(user_folder):
    """Start a browser, which is to be quit."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium and driver, "there is no Chromium, or not its driver: make test-devices"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f"--user-data-dir={user_folder}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


def look(browser, *, scheme="light", width=1280, language="en-US"):
    """Let the browser be a screen of this width, in this language."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    agent = browser.execute_script("return navigator.userAgent")
    browser.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})


def until(browser, script, *arguments, wait_s=WAIT_S):
    """Run `script` until it returns something, and return that."""
    end = time.monotonic() + wait_s
    while not (found := browser.execute_script(script, *arguments)):
        assert time.monotonic() < end, f"{script}\n{browser.execute_script('return document.body.innerText')}"
        time.sleep(0.02)
    return found


def fetched(browser):
    """Return the addresses that were asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def keep(browser, name, width):
    """Keep a picture of the whole page."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 0.5 if width > 600 else 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    (SCREENSHOTS / name).write_bytes(base64.b64decode(shot["data"]))
