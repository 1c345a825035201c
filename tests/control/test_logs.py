import re
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from fastroute.control.logs import configure_logging
configure_logging(sys.argv[1])
for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
    logging.getLogger("supervisor").log(level, "%d servers", 3)
"""


@pytest.mark.parametrize(
    ("level", "written"),
    [
        pytest.param("debug", ["DEBUG", "INFO", "WARNING", "ERROR"], id="debug"),
        pytest.param("info", ["INFO", "WARNING", "ERROR"], id="info"),
        pytest.param("error", ["ERROR"], id="error"),
    ],
)
def test_lines(level, written):
    command = [sys.executable, "-c", PROGRAM, level]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    line = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d ([A-Z]+) supervisor: 3 servers")
    assert [line.fullmatch(text)[1] for text in done.stderr.splitlines()] == written
