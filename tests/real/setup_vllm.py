"""Creates the prerequisites of real vLLM in .cache/vllm: a separate environment and a tiny model.

Usage: python -m tests.real.setup_vllm

torch comes from wherever pip is configured to look. On Linux the index that pip uses by default
holds the CUDA build, which works here but brings several GB that a CPU never uses; point
`PIP_EXTRA_INDEX_URL` or `PIP_FIND_LINKS` at CPU wheels and set `FASTROUTE_REAL_TORCH` to
`torch==2.13.0+cpu` to get the small one (docs/real-vllm.md).
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "vllm"
PYTHON = CACHE / "venv" / "bin" / "python"
MODEL = CACHE / "tiny"
REQUIREMENTS = HERE / "requirements-vllm.txt"
MODEL_SOURCE = HERE / "tiny_model.py"
# The release of torch that this release of vLLM was compiled against.
TORCH = "torch==2.13.0"


def ensure_ready() -> None:
    """Install vLLM and write the model, unless an earlier call did so from the same sources.

    Raises:
        subprocess.CalledProcessError: pip or the model script failed; see setup.log.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    if _is_stale(CACHE / "venv.done", REQUIREMENTS):
        _install()
        (CACHE / "venv.done").write_bytes(REQUIREMENTS.read_bytes())
    if _is_stale(CACHE / "tiny.done", MODEL_SOURCE):
        _logged(str(PYTHON), str(MODEL_SOURCE), str(MODEL))
        (CACHE / "tiny.done").write_bytes(MODEL_SOURCE.read_bytes())


def _is_stale(stamp: Path, source: Path) -> bool:
    return not stamp.exists() or stamp.read_bytes() != source.read_bytes()


def _install() -> None:
    print(f"installing vLLM into {CACHE} (2.5 GB, some minutes)", file=sys.stderr, flush=True)
    _logged(sys.executable, "-m", "venv", "--clear", str(CACHE / "venv"))
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    _logged(*pip, os.environ.get("FASTROUTE_REAL_TORCH", TORCH))
    _logged(*pip, "--no-deps", "-r", str(REQUIREMENTS))


def _logged(*command: str) -> None:
    """Run a command with its output in setup.log, so that a failed test run stays readable."""
    with (CACHE / "setup.log").open("a") as log:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


if __name__ == "__main__":
    ensure_ready()
