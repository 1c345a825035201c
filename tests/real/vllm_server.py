"""One real vLLM server on a local port: start, inspect, kill, stop.

Usage: python -m tests.real.vllm_server PORT...   starts servers and keeps them until Ctrl-C
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.real.setup_vllm import CACHE, MODEL, PYTHON, ensure_ready

MODEL_NAME = "tiny"
SLOTS = 16
START_TIMEOUT = 300.0
STOP_TIMEOUT = 20.0
ARGUMENTS = (
    f"--enforce-eager --max-model-len 8192 --max-num-seqs {SLOTS} --seed 0 "
    "--enable-auto-tool-choice --tool-call-parser hermes "
    # Seconds after SIGTERM in which it finishes its requests, and rejects new ones.
    "--shutdown-timeout 20"
).split()
ENVIRONMENT = {
    "VLLM_TARGET_DEVICE": "cpu",
    # Gigabytes for the KV cache, a whole number.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # By default every server binds its threads to the same first core.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    # Otherwise the first request with logprobs compiles a function: 15 s, with a C++ compiler.
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CACHE_ROOT": str(CACHE / "cache"),
}


class VllmServer:
    """A vLLM server started here, or one that was already running (`is_ours` False)."""

    def __init__(self, port: int, *, is_ours: bool = True) -> None:
        self.port = port
        self.is_ours = is_ours
        self.url = f"http://127.0.0.1:{port}"
        self.log_path: Path = CACHE / f"server-{port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *model_names: str) -> None:
        """Spawn the server; `wait_until_healthy` must follow.

        Args:
            model_names: Names of its only model; MODEL_NAME by default.
        """
        assert self.is_ours, "somebody else's server"
        assert self._process is None, "started twice"
        command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", MODEL]
        command += ["--host", "127.0.0.1", "--port", str(self.port), *ARGUMENTS]
        command += ["--served-model-name", *(model_names or (MODEL_NAME,))]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: the engine is a child process, and outlives a server
                # that was killed; the group id reaches it then.
                start_new_session=True,
            )

    def wait_until_healthy(self) -> None:
        """Wait until /health returns 200.

        Raises:
            RuntimeError: The process exited, or START_TIMEOUT has passed.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            if self.answers():
                return
            time.sleep(0.5)
        tail = self.log_path.read_text(errors="replace")[-3000:] if self.is_ours else ""
        self.stop()
        raise RuntimeError(f"{self.url} did not become healthy\n{tail}")

    def answers(self) -> bool:
        """Return True if /health returns 200 now."""
        try:
            return self.get("/health")[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a GET on a separate connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """Return the sum of all samples of one metric; 0 if there are none yet."""
        # The mounted form of the endpoint (with the slash) can be asked for a single name:
        # half a kilobyte instead of sixty, so that polling it does not disturb the server.
        _, text = self.get(f"/metrics/?name[]={name}")
        samples = [line for line in text.decode().splitlines() if line.startswith(f"{name}{{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in samples)

    def running(self) -> int:
        """Return the number of running requests."""
        return int(self.metric("vllm:num_requests_running"))

    def waiting(self) -> int:
        """Return the number of waiting requests."""
        return int(self.metric("vllm:num_requests_waiting"))

    def finished(self) -> int:
        """Return the number of completed requests since the start."""
        return int(self.metric("vllm:request_success_total"))

    def kill(self) -> None:
        """Send SIGKILL to the API server only, like an out-of-memory kill; `stop` must follow."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM, like a service manager; `stop` must follow."""
        assert self._process is not None
        self._process.terminate()

    def has_ended(self) -> bool:
        """Return True if its API server has exited."""
        return self._process is None or self._process.poll() is not None

    def engine_pid(self) -> int:
        """Return its engine's process, a child of the API server."""
        assert self._process is not None
        for children in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text().startswith("VLLM::EngineCor"):
                    return int(pid)
        raise AssertionError(f"{self.url} has no engine")

    def stop(self) -> None:
        """Stop the server and all its processes."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.terminate()
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Start servers on the given ports and keep them until interrupted."""
    ensure_ready()
    servers = [VllmServer(int(port)) for port in sys.argv[1:]]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait_until_healthy()
            print(server.url, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main()
