"""A real browser for the tests: Chromium of the machine, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """A browser without a window. Skips the test on a machine without Chromium, unless REQUIRE_BROWSER is set."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        assert "REQUIRE_BROWSER" not in os.environ, "no chromium on PATH, and REQUIRE_BROWSER asks for one"
        pytest.skip("no chromium on PATH; on Debian: apt-get install chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own does not run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*sandbox, *arguments])
        try:
            yield browser
        finally:
            browser.close()
