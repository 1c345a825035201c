import resource
import subprocess
import sys

import pytest

PROGRAM = """
import logging, resource, sys
from fastroute.control.workers.descriptors import raise_descriptor_limit
logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1000))
raise_descriptor_limit(int(sys.argv[1]))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("max_connections", "warning"),
    [
        pytest.param(450, "", id="enough"),
        pytest.param(
            451,
            "WARNING supervisor: 451 clients need 1002 open descriptors, the system allows 1000: "
            "raise the limit (ulimit -n, LimitNOFILE=) or set max_connections = 450\n",
            id="too-few",
        ),
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes(max_connections, warning):
    """In a separate process, because a lowered hard limit cannot be raised."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1000:
        pytest.skip("the limit here is lower than that of the test")
    command = [sys.executable, "-c", PROGRAM, str(max_connections)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1000\n", warning)
