"""Errors, with the messages and the JSON that users and clients see."""

import orjson


class ConfigError(Exception):
    """Invalid configuration; the message is one clear line for the user."""


def error_body(status: int, message: str, type_: str, param: str | None = None) -> bytes:
    """Render an error as vLLM and OpenAI do, so that clients show its message.

    Args:
        status: HTTP status; repeated as `code`, as vLLM does.
        message: The problem and, if there is one, the remedy.
        type_: Error class in vLLM's words, such as `BadRequestError`.
        param: The invalid field of the request, if any.
    """
    error = {"message": message, "type": type_, "param": param, "code": status}
    return orjson.dumps({"error": error})


class BadRequest(Exception):
    """An invalid request of a client: send an error response and close its connection.

    Attributes:
        status: HTTP status of the response.
        message: The problem, for the client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BadReply(Exception):
    """A server's response is not valid HTTP; its connection cannot be reused."""
