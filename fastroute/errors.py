"""What went wrong, in the words and the JSON shape that users and clients see."""

import orjson


class ConfigError(Exception):
    """The configuration cannot be used; the message is one clear line for the user."""


def error_body(status: int, message: str, type_: str, param: str | None = None) -> bytes:
    """Render an error as vLLM and OpenAI do, so that clients show its message.

    Args:
        status: HTTP status; repeated as `code`, as vLLM does.
        message: What happened and, where there is one, the remedy.
        type_: Error class in vLLM's words, such as `BadRequestError`.
        param: The request field at fault, if one is.
    """
    error = {"message": message, "type": type_, "param": param, "code": status}
    return orjson.dumps({"error": error})


class BadRequest(Exception):
    """A client's request cannot be served; it is answered and its connection closed.

    Attributes:
        status: HTTP status of the answer.
        message: What is wrong, for the client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BadReply(Exception):
    """A server's reply breaks HTTP; its connection cannot be used any further."""
