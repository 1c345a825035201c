"""A real browser for tests: Debian's Chromium, headless."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--force-color-profile=srgb"),
)
BROWSER, DRIVER = "chromium", "chromedriver"
FAULTS = ("SEVERE", "WARNING")


class Browser(Chrome):
    """A browser with one tab."""

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Set the exact size of the viewport in pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """Prefer `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page and return its result."""
        return self.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """Return the visible text of the first matching element."""
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the page's thread since the first call."""
        self.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        found = self.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return {each["name"]: each["value"] for each in found}["TaskDuration"]

    def faults(self) -> list[str]:
        """Return the errors and warnings on the console since the last call."""
        log = self.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] in FAULTS]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser with an empty profile until the context exits."""
    paths = {name: shutil.which(name) for name in (BROWSER, DRIVER)}
    if None in paths.values():
        missing = " and ".join(name for name, path in paths.items() if path is None)
        if os.environ.get("CI"):
            pytest.fail(f"install {missing}: in CI the dashboard is always tested")
        pytest.skip(f"no {missing} here")
    with tempfile.TemporaryDirectory(prefix="fastroute-", ignore_cleanup_errors=True) as folder:
        options = ChromeOptions()
        options.binary_location = str(paths[BROWSER])
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in (*FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        # With both paths given, selenium does not search for or download a driver.
        driver = Browser(options, Service(str(paths[DRIVER])))
        try:
            yield driver
        finally:
            driver.quit()
