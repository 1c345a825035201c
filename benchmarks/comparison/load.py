"""The load process: `python -m benchmarks.comparison.load SPEC` runs one measurement, prints JSON.

It is bounded by its spec, and by an alarm should anything in it hang.
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
# Connecting, and the streams' beginning and end. 10,000 streams connect at some 1,000 a second.
_SECONDS_AROUND = 30
_SECONDS_PER_CONNECTION = 0.01


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1].encode(), type=LoadSpec)
    signal.alarm(
        int(spec.warmup + spec.seconds + spec.connections * _SECONDS_PER_CONNECTION)
        + _SECONDS_AROUND
    )
    load = KINDS[spec.kind](spec)
    # A collection of the load's own objects would be seen as a proxy's latency.
    gc.freeze()
    gc.disable()
    result = uvloop.run(load.run())
    print(msgspec.json.encode(result).decode(), flush=True)


if __name__ == "__main__":
    main()
