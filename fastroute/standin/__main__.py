"""`python -m fastroute.standin`: one or more stand-ins in a separate process."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable

from fastroute.standin.message import Settings
from fastroute.standin.server import StandIn


def main() -> None:
    """Run until SIGTERM or SIGINT or, if requested, until standard input ends."""
    options = _parser().parse_args()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastroute.standin", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 for a free one; others use the next ports")
    add("--count", type=int, default=1, help="number of stand-ins in this process")
    add("--name", default="standin", help="shown by /standin/state; numbered if there are several")
    add("--model", action="append", help="served model name; may be repeated")
    add("--slots", type=int, default=16, help="sequences generated concurrently; others wait")
    add("--ttft", type=float, default=0.0, help="seconds to the first token")
    add("--token-interval", type=float, default=0.0, help="seconds between tokens")
    add("--max-queued", type=int, help="number of unfinished sequences above which to return 503")
    add("--keep-alive", type=float, default=5.0, help="seconds until an idle connection is closed")
    add(
        "--shutdown-timeout",
        type=float,
        default=0.0,
        help="seconds to finish after SIGTERM",
    )
    add("--exit-with-parent", action="store_true", help="stop when standard input ends")
    return parser


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop_asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, stop_asked.set)
    loop.add_signal_handler(signal.SIGTERM, stop_asked.set)
    standins = []
    for index in range(options.count):
        port = options.port + index if options.port else 0
        try:
            standin = await StandIn.start(_settings(options, index), options.host, port)
        except OSError as error:
            sys.exit(f"standin cannot listen on {options.host}:{port}: {error.strerror}")
        standins.append(standin)
        sys.stdout.write(f"standin listening on {standin.url}\n")
        sys.stdout.flush()
    if options.exit_with_parent:
        # The parent holds the other end of this pipe; the kernel closes it however the parent ends.
        loop.add_reader(0, _parent_wrote, loop, stop_asked)
    await stop_asked.wait()
    # A second signal stops immediately.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    await asyncio.gather(*(standin.stop(options.shutdown_timeout) for standin in standins))


def _parent_wrote(loop: asyncio.AbstractEventLoop, stop_asked: asyncio.Event) -> None:
    if not os.read(0, 4096):
        loop.remove_reader(0)
        stop_asked.set()


def _settings(options: argparse.Namespace, index: int) -> Settings:
    name = options.name if options.count == 1 else f"{options.name}-{index + 1}"
    return Settings(
        name=name,
        models=tuple(options.model or ("standin",)),
        slots=options.slots,
        ttft=options.ttft,
        token_interval=options.token_interval,
        max_queued=options.max_queued,
        keep_alive=options.keep_alive,
    )


if __name__ == "__main__":
    main()
