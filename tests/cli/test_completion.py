import os
import sys
from pathlib import Path

import pytest

from tests.support.command import run_command, wait_until
from tests.support.programs import require
from tests.support.tmux import PROMPT, Terminal, terminal

BIN = Path(sys.executable).parent
SCRIPTS = {
    "bash": "complete -o default -F",
    "zsh": "compdef",
    "fish": "complete --command fastroute",
}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_shows_the_script_of_the_named_shell(shell):
    done = run_command("--show-completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert SCRIPTS[shell] in done.stdout
    assert not any(SCRIPTS[other] in done.stdout for other in SCRIPTS if other != shell)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_installs_it(shell, tmp_path):
    done = run_command("--install-completion", shell, env={**os.environ, "HOME": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    (script,) = [path for path in tmp_path.rglob("*fastroute*") if path.is_file()]
    assert SCRIPTS[shell] in script.read_text() or shell == "zsh"
    assert f"{shell} completion installed in {script}" in done.stdout


def test_an_unknown_shell():
    done = run_command("--show-completion", "cmd")
    assert done.returncode == 1
    assert "Shell cmd not supported." in done.stdout + done.stderr


def tab(shell: Terminal, text: str) -> None:
    shell.tmux("send-keys", "-l", text)
    shell.press("Tab")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("fastroute che", "fastroute check-config"),
        ("fastroute demo --no-t", "fastroute demo --no-traffic"),
        ("fastroute top --on", "fastroute top --once"),
        ("fastroute run --log-level war", "fastroute run --log-level warning"),
    ],
)
def test_bash_completes(typed, completed):
    require("bash", "bash")
    with terminal() as shell:
        shell.type(f"PATH={BIN}:$PATH PS1={PROMPT} bash --norc -i")
        shell.type("fastroute --show-completion bash > /dev/null && echo re''ady")
        shell.wait_for("ready")
        shell.type("source <(fastroute --show-completion bash); clear")
        wait_until(lambda: shell.screen().strip() == PROMPT)
        tab(shell, typed)
        shell.wait_for(PROMPT + completed)
