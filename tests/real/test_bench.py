"""vLLM's own load generator runs through fastroute without a failed request."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.real.router_process import RouterProcess
from tests.real.setup_vllm import MODEL, PYTHON
from tests.real.vllm_server import ENVIRONMENT, MODEL_NAME

pytestmark = pytest.mark.real

REQUESTS = 64
# The code of `vllm bench serve`. The command requires a distribution named vllm, and the
# CPU build has another name.
PROGRAM = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


@pytest.mark.parametrize(
    ("backend", "endpoint"),
    [("openai-chat", "/v1/chat/completions"), ("openai", "/v1/completions")],
    ids=["chat", "completions"],
)
def test_vllm_bench_serve(router: RouterProcess, tmp_path: Path, measured, backend, endpoint):
    options = (
        f"--backend {backend} --endpoint {endpoint} --base-url {router.url} --model {MODEL_NAME} "
        f"--tokenizer {MODEL} --dataset-name random --random-input-len 50 --random-output-len 20 "
        f"--num-prompts {REQUESTS} --max-concurrency 32 --disable-tqdm "
        f"--save-result --result-dir {tmp_path} --result-filename bench.json"
    )
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM, *options.split()],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "bench.json").read_text())
    measured(
        f"{result['completed']} requests, {result['output_throughput']:.0f} tokens/s, "
        f"median time to first token {result['median_ttft_ms']:.0f} ms"
    )
    assert (result["completed"], result["failed"]) == (REQUESTS, 0)
