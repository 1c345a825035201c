"""The load process: `python -m benchmarks.comparison.load SPEC` runs one measurement, prints JSON.

Its duration is limited by its spec, and by an alarm in case it hangs.
"""

import gc
import signal
import sys

import msgspec
import uvloop

from benchmarks.comparison.json_load import ClosedLoad, PacedLoad
from benchmarks.comparison.many_load import ManyLoad
from benchmarks.comparison.spec import LoadSpec
from benchmarks.comparison.stream_load import StreamLoad

KINDS = {"closed": ClosedLoad, "paced": PacedLoad, "streams": StreamLoad, "many": ManyLoad}
# Connecting, and start and end of the streams. 10,000 streams connect at about 1,000 per second.
_SECONDS_AROUND = 30
_SECONDS_PER_CONNECTION = 0.01


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1].encode(), type=LoadSpec)
    signal.alarm(
        int(spec.warmup + spec.seconds + spec.connections * _SECONDS_PER_CONNECTION)
        + _SECONDS_AROUND
    )
    load = KINDS[spec.kind](spec)
    # Garbage collection in the load would be counted as latency of the proxy.
    gc.freeze()
    gc.disable()
    result = uvloop.run(load.run())
    print(msgspec.json.encode(result).decode(), flush=True)


if __name__ == "__main__":
    main()
