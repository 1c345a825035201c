import io

import pytest
from rich.console import Console

from fastroute.cli import progress as module
from fastroute.cli.progress import progress


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress(monkeypatch, is_terminal):
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=80)
    monkeypatch.setattr(module, "Console", lambda stderr: console)
    with progress("checking 3 servers", 7) as step:
        step()
        step()
        if is_terminal:
            console._live_stack[-1].refresh()
    assert ("checking 3 servers: 2 of 7 done" in output.getvalue()) is is_terminal
    assert bool(output.getvalue()) is is_terminal
