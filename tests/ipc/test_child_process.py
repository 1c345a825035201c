import json
import subprocess

from fastroute.ipc.child_process import ROOT, python_command

PROGRAM = "import fastroute, json; print(json.dumps([fastroute.__file__, sys.argv[1:]]))"


def test_it_runs_our_own_code_whatever_lies_in_the_current_directory(tmp_path):
    for decoy in ("fastroute/__init__.py", "json.py", "sitecustomize.py"):
        path = tmp_path / decoy
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('a decoy was imported')")
    command = python_command(PROGRAM, "--option", "a b")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        str(ROOT / "fastroute" / "__init__.py"),
        ["--option", "a b"],
    ]
