import subprocess
import sys

PROGRAM = """
import asyncio, os, subprocess, sys
from fastroute.monitor.stderr_lines import StderrLines

async def main(stderr):
    with stderr.followed():
        print("ours", file=sys.stderr)
        subprocess.run(["sh", "-c", "echo of a child >&2"])
        os.write(2, b"an escape \\x1b[2J\\n")
        while len(stderr.kept) < 3:
            await asyncio.sleep(0.01)
        print(*stderr.kept, sep="|")
        {more}

with StderrLines() as stderr:
    print("early", file=sys.stderr)
    {before}
    asyncio.run(main(stderr))
print("late", file=sys.stderr)
"""


def run(more: str = "", before: str = "", code: int = 0) -> subprocess.CompletedProcess:
    program = PROGRAM.format(more=more, before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert done.returncode == code, done.stderr
    return done


def test_lines_are_kept_and_written():
    done = run()
    assert done.stdout.decode() == "early|ours|of a child|an escape \\u001b[2J\n"
    assert done.stderr == b"early\nours\nof a child\nan escape \x1b[2J\nlate\n"


def test_a_terminal_gets_no_escape_sequence():
    done = run(before="stderr._is_terminal = True")
    assert done.stderr == b"early\nours\nof a child\nan escape \\u001b[2J\nlate\n"


def test_a_file_gets_all_lines_even_while_hidden():
    done = run(before="stderr.hide()")
    assert done.stderr.startswith(b"early\nours\n")


def test_the_last_hidden_lines_are_shown():
    before = "stderr._is_terminal = True; stderr.hide()"
    more = 'for n in range(20): print("line", n, file=sys.stderr)'
    done = run(before=before, more=more)
    assert done.stderr.decode().splitlines() == [*(f"line {n}" for n in range(10, 20)), "late"]


def test_writers_do_not_block():
    """A worker blocked here would delay its clients."""
    more = """
        line = b"x" * 999 + b"\\n"
        try:
            for _ in range(1000):
                os.write(2, line)
        except BlockingIOError:
            print("full")
    """
    assert run(more=more).stdout.endswith(b"full\n")


def test_a_traceback_is_written():
    done = run(more='raise ValueError("mistake")', before="stderr._is_terminal = True", code=1)
    assert done.stderr.rstrip().endswith(b"ValueError: mistake")
    assert b"early\n" in done.stderr
