"""The stand-in's endpoints: a handler for each path and method."""

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from fastroute.errors import error_body
from fastroute.standin.answers import ByteRun, Generation, StreamedGeneration, WholeGeneration
from fastroute.standin.connection import Connection, Counters
from fastroute.standin.engine import Engine, Mode, Pace
from fastroute.standin.message import JSON, Reply, Request, Settings, chunk
from fastroute.standin.metrics import render_metrics
from fastroute.standin.texts import ChatTexts, CompletionTexts, GenerationBody, Texts, count_tokens

VERSION = "0.32.0"
MAX_MODEL_LEN = 8192
METRICS_TYPE = b"text/plain; version=%b; charset=utf-8"
BUSY = (
    "The engine is currently busy and cannot accept new requests. "
    "Please try again later or on a different instance."
)
GONE = "cannot schedule new futures after shutdown"

# None: the handler responds later, on the connection.
Handler = Callable[[Request, Connection], Reply | None]


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /standin/set; omitted settings do not change."""

    healthy: bool | None = None
    hung: bool | None = None
    sleeping: bool | None = None
    ttft: float | None = None
    token_interval: float | None = None
    slots: int | None = None
    max_queued: int | None = None


class Endpoints:
    """Handles the requests to one stand-in."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        counters: Counters,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._counters = counters
        self._loop = loop
        self._routes: dict[bytes, tuple[tuple[bytes, ...], Handler]] = {
            b"/v1/chat/completions": ((b"POST",), self._chat),
            b"/v1/completions": ((b"POST",), self._completions),
            b"/v1/models": ((b"GET",), self._models),
            b"/v1/models/": ((b"GET",), self._models_elsewhere),
            b"/v1/audio/transcriptions": ((b"POST",), self._transcription),
            b"/tokenize": ((b"POST",), self._tokenize),
            b"/health": ((b"GET",), self._health),
            b"/ping": ((b"GET", b"POST"), self._health),
            b"/version": ((b"GET",), self._version),
            b"/sleep": ((b"POST",), self._sleep),
            b"/wake_up": ((b"POST",), self._wake_up),
            b"/is_sleeping": ((b"GET",), self._is_sleeping),
            b"/metrics": ((b"GET", b"HEAD"), self._metrics),
            b"/metrics/": ((b"GET", b"HEAD"), self._chosen_metrics),
            b"/standin/echo": ((), self._echo),
            b"/standin/bytes": ((b"GET",), self._bytes),
            b"/standin/state": ((b"GET",), self._state),
            b"/standin/set": ((b"POST",), self._set),
        }

    def head_read(self, request: Request) -> None:
        """Reject an unknown path or a wrong method; do not store bodies that may be large."""
        if request.path.startswith(b"/standin/echo/"):
            request.path = b"/standin/echo"  # The target stays unchanged.
        route = self._routes.get(request.path)
        if route is None:
            request.refusal = Reply.json({"detail": "Not Found"}, 404)
        elif route[0] and request.method not in route[0]:
            allow = b"allow: %b\r\n" % b", ".join(route[0])
            request.refusal = Reply.json({"detail": "Method Not Allowed"}, 405, allow)
        elif request.path in (b"/standin/echo", b"/v1/audio/transcriptions"):
            request.digest = hashlib.sha256()

    def answer(self, request: Request, connection: Connection) -> None:
        reply = request.refusal or self._routes[request.path][1](request, connection)
        if reply is not None:
            connection.reply(reply)

    # Generation

    def _chat(self, request: Request, connection: Connection) -> Reply | None:
        return self._generate(request, connection, ChatTexts)

    def _completions(self, request: Request, connection: Connection) -> Reply | None:
        return self._generate(request, connection, CompletionTexts)

    def _generate(
        self, request: Request, connection: Connection, texts_class: type[Texts]
    ) -> Reply | None:
        body = _read_generation(request)
        if isinstance(body, Reply):
            return body
        needed = "messages" if texts_class is ChatTexts else "prompt"
        refusal = self._refusal(body, needed)
        if refusal is not None:
            return refusal
        request_id = request.field(b"x-request-id")
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        texts = texts_class(
            body.model or self._settings.models[0],
            None if request_id is None else request_id.decode("latin-1"),
            with_usage=with_usage,
        )
        kind: type[Generation] = StreamedGeneration if body.stream else WholeGeneration
        kind(connection, self._engine, self._counters, texts).begin(body, self._pace(body))
        return None

    def _refusal(self, body: GenerationBody, needed: str) -> Reply | None:
        """Return vLLM's error response to this generation, if any, in its order of checks."""
        if getattr(body, needed) is None:
            return _bad_body(f"body.{needed}", "missing", "Field required")
        models = self._settings.models
        if body.model is not None and body.model not in models:
            message = (
                f"The model `{body.model}` does not exist. Valid aliases: {', '.join(models)}."
            )
            return _error(404, message, "NotFoundError", "model")
        if not self._engine.accepts_work:
            return _error(500, GONE, "InternalServerError")
        if not self._engine.has_capacity_for((body.n or 1) * len(body.prompts())):
            self._engine.refused += 1
            return _error(503, BUSY, "Service Unavailable")
        return None

    def _pace(self, body: GenerationBody) -> Pace:
        override, settings = body.standin, self._settings
        return Pace(
            settings.ttft if override.ttft is None else override.ttft,
            settings.token_interval if override.token_interval is None else override.token_interval,
        )

    # The rest of vLLM

    def _models(self, request: Request, connection: Connection) -> Reply:
        return Reply.json(
            {"object": "list", "data": [_model_card(model) for model in self._settings.models]}
        )

    def _models_elsewhere(self, request: Request, connection: Connection) -> Reply:
        host = request.field(b"host") or b""
        return Reply(307, fields=b"location: http://%b/v1/models\r\n" % host)

    def _transcription(self, request: Request, connection: Connection) -> Reply:
        if not (request.field(b"content-type") or b"").startswith(b"multipart/form-data"):
            return _bad_body("body.file", "missing", "Field required")
        return Reply.json({"text": f"{request.body_size} bytes", "size": request.body_size})

    def _tokenize(self, request: Request, connection: Connection) -> Reply:
        body = _read_generation(request)
        if isinstance(body, Reply):
            return body
        count = sum(count_tokens(prompt) for prompt in body.prompts())
        tokens = {"tokens": list(range(count)), "token_strs": None}
        return Reply.json({"count": count, "max_model_len": MAX_MODEL_LEN, **tokens})

    def _health(self, request: Request, connection: Connection) -> Reply:
        return Reply(200 if self._settings.healthy else 503)

    def _version(self, request: Request, connection: Connection) -> Reply:
        return Reply.json({"version": VERSION})

    def _sleep(self, request: Request, connection: Connection) -> Reply:
        """Put the engine to sleep, as vLLM does with VLLM_SERVER_DEV_MODE=1."""
        self._engine.set_mode(Mode.ASLEEP)
        level = parse_qs(request.query.decode("latin-1")).get("level", ["1"])[0]
        return Reply.json({"status": "sleeping", "level": int(level) if level.isdecimal() else 1})

    def _wake_up(self, request: Request, connection: Connection) -> Reply:
        self._engine.set_mode(Mode.AWAKE)
        self._engine.fill_slots()
        return Reply.json({"status": "awake", "tags": None})

    def _is_sleeping(self, request: Request, connection: Connection) -> Reply:
        return Reply.json({"is_sleeping": self._engine.mode is Mode.ASLEEP})

    def _metrics(self, request: Request, connection: Connection) -> Reply:
        """Return all metrics; vLLM ignores `name[]` here."""
        text = render_metrics(self._engine, self._settings.models[0])
        return Reply(200, text, METRICS_TYPE % b"1.0.0")

    def _chosen_metrics(self, request: Request, connection: Connection) -> Reply | None:
        """Send the filtered metrics: with the slash, vLLM filters by `name[]` and sends chunks."""
        names = parse_qs(request.query.decode("latin-1")).get("name[]", [])
        text = render_metrics(self._engine, self._settings.models[0], names)
        fields = b"content-type: %b\r\n" % (METRICS_TYPE % b"0.0.4")
        if request.method == b"HEAD":
            return Reply(200, content_type=METRICS_TYPE % b"0.0.4")
        connection.send_head(fields, chunked=True)
        if text:
            connection.send(chunk(text))
        connection.finish()
        return None

    # For tests

    def _echo(self, request: Request, connection: Connection) -> Reply:
        """Return the request exactly as it arrived; names and values are Latin-1."""
        assert request.digest is not None, "set when the headers were read"
        body = {"size": request.body_size, "sha256": request.digest.hexdigest()}
        return Reply.json(
            {
                "server": self._settings.name,
                "method": request.method.decode("latin-1"),
                "target": request.target.decode("latin-1"),
                "version": request.version,
                "fields": _texts_of(request.fields),
                "trailers": _texts_of(request.trailers),
                "body": body,
            }
        )

    def _bytes(self, request: Request, connection: Connection) -> Reply | None:
        size = parse_qs(request.query.decode("latin-1")).get("size", ["0"])[0]
        if not size.isdecimal():
            return _error(400, f"size is {size!r}; it must be a number of bytes", "Bad Request")
        ByteRun(connection, self._loop, int(size)).begin()
        return None

    def _state(self, request: Request, connection: Connection) -> Reply:
        engine = self._engine
        return Reply.json(
            {
                "name": self._settings.name,
                "pid": os.getpid(),
                "mode": engine.mode.value,
                "running": engine.running,
                "waiting": engine.waiting,
                "refused": engine.refused,
                **msgspec.structs.asdict(self._counters),
            }
        )

    def _set(self, request: Request, connection: Connection) -> Reply:
        try:
            change = msgspec.json.decode(request.body, type=Change)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _error(400, str(error), "Bad Request")
        for name in ("healthy", "ttft", "token_interval", "slots", "max_queued"):
            value = getattr(change, name)
            if value is not None:
                setattr(self._settings, name, value)
        if change.hung is not None:
            self._engine.set_mode(Mode.HUNG if change.hung else Mode.AWAKE)
        if change.sleeping is not None:
            self._engine.set_mode(Mode.ASLEEP if change.sleeping else Mode.AWAKE)
        self._engine.fill_slots()
        return self._state(request, connection)


def _read_generation(request: Request) -> GenerationBody | Reply:
    """Return the body of a generation request, or vLLM's error response."""
    if not (request.field(b"content-type") or b"").startswith(JSON):
        message = (
            "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        )
        return _error(400, message, "Bad Request")
    if not request.body:
        return _bad_body("body", "missing", "Field required")
    try:
        return msgspec.json.decode(request.body, type=GenerationBody)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        return _bad_body(f"body.{path.rstrip('`')}" if path else "body", "type_error", message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _bad_body("body", "json_invalid", f"JSON decode error: {error}")


def _bad_body(location: str, kind: str, message: str) -> Reply:
    text = f"1 validation error:\n  {{'type': '{kind}', 'loc': '{location}', 'msg': '{message}'}}"
    return _error(400, text, "Bad Request", location)


def _error(status: int, message: str, type_: str, param: str | None = None) -> Reply:
    return Reply(status, error_body(status, message, type_, param), JSON)


def _texts_of(fields: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


def _model_card(model: str) -> dict[str, object]:
    created = int(time.time())
    return {
        "id": model,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": model,
        "parent": None,
        "max_model_len": MAX_MODEL_LEN,
        "permission": [
            {
                "id": f"modelperm-{random.getrandbits(64):016x}",
                "object": "model_permission",
                "created": created,
                "allow_create_engine": False,
                "allow_sampling": True,
                "allow_logprobs": True,
                "allow_search_indices": False,
                "allow_view": True,
                "allow_fine_tuning": False,
                "organization": "*",
                "group": None,
                "is_blocking": False,
            }
        ],
    }
