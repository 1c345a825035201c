import resource
import subprocess
import sys

import pytest

PROGRAM = """
import logging, resource, sys
from fastroute.control.workers.descriptors import raise_descriptor_limit
logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1000))
raise_descriptor_limit(int(sys.argv[1]), int(sys.argv[2]))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


REMEDY = "raise the limit (ulimit -n, LimitNOFILE=)"


@pytest.mark.parametrize(
    ("max_connections", "servers", "warnings"),
    [
        pytest.param(450, 0, [], id="enough"),
        pytest.param(440, 10, [], id="enough-for-servers-too"),
        pytest.param(
            451,
            0,
            [
                (
                    "451 clients and 0 servers need 1002 open descriptors, the system allows 1000: "
                    f"{REMEDY} or set max_connections = 450"
                )
            ],
            id="too-many-clients",
        ),
        pytest.param(
            440,
            11,
            [
                (
                    "440 clients and 11 servers need 1002 open descriptors, the system allows "
                    f"1000: {REMEDY} or set max_connections = 439"
                )
            ],
            id="servers-count-too",
        ),
        pytest.param(225, 225, [], id="as-many-servers-as-can-be-asked"),
        pytest.param(
            1,
            226,
            [
                (
                    f"226 servers need 1004 open descriptors, the system allows 1000: {REMEDY}, or "
                    "servers cannot be asked for their health and load"
                )
            ],
            id="too-many-servers-to-ask",
        ),
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes(max_connections, servers, warnings):
    """In a separate process, because a lowered hard limit cannot be raised."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1000:
        pytest.skip("the limit here is lower than that of the test")
    command = [sys.executable, "-c", PROGRAM, str(max_connections), str(servers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "1000\n"
    assert done.stderr.splitlines() == [f"WARNING supervisor: {text}" for text in warnings]
