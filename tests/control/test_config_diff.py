import pytest

from fastroute.config import parse_config
from fastroute.control.config_diff import describe_changes


def config(servers: str, settings: str = ""):
    return parse_config(f"[servers]\nservers = [ {servers} ]\n[config]\n{settings}\n", "t")


A = '{ url = "http://a" }'
B = '{ url = "http://b" }'


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param((A,), (A,), [], id="nothing"),
        pytest.param((A,), ('{ url = "HTTP://A:80/" }',), [], id="url-written-otherwise"),
        pytest.param((f"{A}, {B}",), (f"{B}, {A}",), [], id="order"),
        pytest.param(
            (A,), (B,), ["server http://a removed", "server http://b added"], id="replaced"
        ),
        pytest.param(
            (A,),
            (f'{A}, {{ url = "http://b", drain = true }}',),
            ["server http://b added to be drained"],
            id="added-drained",
        ),
        pytest.param(
            (A,),
            ('{ url = "http://a", max_concurrent_requests = 16, weight = 2, drain = true }',),
            [
                "server http://a: max_concurrent_requests 8 -> 16",
                "server http://a: weight 1 -> 2",
                "server http://a: drain false -> true",
            ],
            id="server",
        ),
        pytest.param(
            (A,),
            ('{ url = "http://a", models = ["m"], api_key = "s3cret" }',),
            ['server http://a: models not set -> ["m"]', "server http://a: api_key changed"],
            id="no-key-is-shown",
        ),
        pytest.param(
            (A, "max_retries = 1"),
            (A, 'max_retries = 2\nscrape_interval = 0.5\npolicy = "random"\naliases = { a = "b" }'),
            [
                'policy "load" -> "random"',
                "scrape_interval 1 -> 0.5",
                'aliases {} -> {"a":"b"}',
                "max_retries 1 -> 2",
            ],
            id="settings",
        ),
    ],
)
def test_describes(before, after, expected):
    assert list(describe_changes(config(*before), config(*after))) == expected
