import contextlib
import socket

import pytest

from fastroute.control.workers.listeners import address_text, open_listeners
from fastroute.errors import ConfigError


@contextlib.contextmanager
def listening(*arguments):
    with contextlib.ExitStack() as stack:
        listeners = open_listeners(*arguments)
        for listener in listeners:
            stack.enter_context(listener)
        yield listeners


def ports(listeners):
    return {listener.getsockname()[1] for listener in listeners}


@pytest.mark.parametrize("count", [1, 3])
def test_a_free_port_is_chosen_and_accepts(count):
    with listening("127.0.0.1", 0, count) as listeners:
        assert len(listeners) == count
        (port,) = ports(listeners)
        assert not any(listener.getblocking() for listener in listeners)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


@pytest.mark.parametrize("count", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("others", [1, 2], ids=["beside-one", "beside-two"])
def test_a_port_in_use_is_noticed(count, others):
    """Shared sockets bind silently next to other shared ones, and half of the clients go there."""
    with listening("127.0.0.1", 0, others) as listeners:
        (port,) = ports(listeners)
        with pytest.raises(ConfigError) as caught:
            open_listeners("127.0.0.1", port, count)
    expected = f"cannot listen on 127.0.0.1:{port}: Address already in use (see --host, --port)"
    assert str(caught.value) == expected


@pytest.mark.parametrize("count", [1, 2])
def test_a_port_just_given_up_is_free(count):
    """Connections in TIME_WAIT must not prevent a restarted router from using its port."""
    with listening("127.0.0.1", 0, count) as listeners:
        (port,) = ports(listeners)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            for listener in listeners:
                listener.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    listener.accept()[0].close()
            assert client.recv(1) == b""
    with listening("127.0.0.1", port, count) as listeners:
        assert ports(listeners) == {port}


def test_ipv6_wildcard_takes_ipv4_too():
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with listening("::", 0, 1) as (listener,):
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=5):
                pass


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        pytest.param(
            "no-such-host.invalid", r"cannot listen on no-such-host.invalid:0: ", id="name"
        ),
        pytest.param("192.0.2.1", "Cannot assign requested address", id="foreign-address"),
        pytest.param("x" * 300, "cannot listen on x", id="too-long"),
        pytest.param("a\0b", "cannot listen on a", id="null"),
    ],
)
def test_an_address_that_is_not_ours(host, reason):
    with pytest.raises(ConfigError, match=reason):
        open_listeners(host, 0, 1)


@pytest.mark.parametrize(
    ("host", "text"),
    [pytest.param("gpu", "gpu:1", id="name"), pytest.param("::1", "[::1]:1", id="ipv6")],
)
def test_address_text(host, text):
    assert address_text(host, 1) == text
