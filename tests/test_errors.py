import json

import pytest

from fastroute.errors import BadReply, BadRequest, ConfigError, error_body


@pytest.mark.parametrize(
    ("param", "message"),
    [(None, "plain"), ("model", 'with "quotes", \\, \n and \u00e4')],
)
def test_error_body(param, message):
    """It has the format of vLLM, whose message OpenAI's clients show."""
    body = json.loads(error_body(404, message, "NotFoundError", param))
    assert list(body) == ["error"]
    assert list(body["error"].items()) == [
        ("message", message),
        ("type", "NotFoundError"),
        ("param", param),
        ("code", 404),
    ]


def test_bad_request():
    error = BadRequest(413, "too long")
    assert (error.status, error.message, str(error)) == (413, "too long", "too long")


@pytest.mark.parametrize("kind", [BadReply, ConfigError])
def test_messages(kind):
    assert str(kind("one line")) == "one line"
