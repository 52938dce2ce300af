"""Logging of every process: structlog, with the standard library, Django, Celery and granian routed through it.

JSON lines if stderr is not a terminal, readable ones if it is. Secrets are removed here, in one place, before anything
is written, so callers need not care.
"""

import contextlib
import datetime
import functools
import logging
import re
import sys
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, TextIO

import msgspec

from registry_core.config import MASK, Config, get_config
from registry_core.machine.imports import without

with without("rich", "greenlet"):  # coloured tracebacks (3 MiB); another kind of threads
    import structlog
    from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_KEY = re.compile(
    r"passw(or)?d|secret|authori[sz]ation|credential|cookie|signature|api[_-]?key|private[_-]?key|^dsn$|(^|[_-])token$",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9\-._~+/=]{4,}", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/@]+@")
# A name begins only after a character that cannot be part of one, so that a long text is scanned once.
_PARAMETER = re.compile(r"(?<![\w-])([\w-]+)=")
_VALUE = re.compile(r"[^&\s\"'#]+")
_SECRET_ENDINGS = ("signature", "credential", "secret", "passwd", "password", "token")
_SECRET_WORDS = frozenset({"sig", "code", "state"})
# libraries that log every step; Celery logs every tick of the clock
_CHATTY = (
    "kombu", "amqp", "asyncio", "urllib3", "httpx", "httpcore",
    "celery.beat", "celery.worker.strategy", "celery.app.trace",
)  # fmt: skip
_INTERNAL = ("_record", "_from_structlog")  # added to an event by the formatter, and removed again
ACCESS_BATCH = 256
_BACKSLASH, _DELETE = b"\\\x7f"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class _AccessLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One request, as logged. The field names are the keys of the JSON line."""

    event: str
    timestamp: str
    level: str
    request_id: str
    method: str
    path: str
    status: int
    bytes: int
    duration_ms: float
    client: str
    user: str | None = None
    action: str | None = None
    repository: str | None = None


class _Output:
    """Where lines go; set once per process by `configure`."""

    is_json = True
    is_access_logged = True
    pending: ClassVar[list[bytes]] = []
    chosen: tuple[bool, str, TextIO] | None = None


_encode = msgspec.json.Encoder().encode


def configure(config: Config | None = None, *, stream: TextIO | None = None) -> None:
    """Route all logging of this process to `stream` (stderr by default). Safe to call again.

    A second call changes nothing, even in a forked process: it would write to every existing logger, in memory that is
    shared until then.
    """
    config = config or get_config()
    stream = stream or sys.stderr
    is_json = config.log_format == "json" or (config.log_format == "auto" and not stream.isatty())
    chosen = (is_json, config.log_level, stream)
    if chosen == _Output.chosen and any(_is_ours(handler) for handler in logging.getLogger().handlers):
        return
    _Output.chosen, _Output.is_json = chosen, is_json
    _Output.is_access_logged = config.log_level in {"debug", "info"}
    structlog.configure(
        processors=[*_shared_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(config.log_level.upper(), stream)


def configure_django(_logging: Mapping[str, Any]) -> None:
    """Called by Django through LOGGING_CONFIG: Django logs like everything else."""
    configure()


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for module `name`; pass facts as keyword arguments, not in the text."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def access(
    *,
    request_id: str,
    method: str,
    path: str,
    status: int,
    size_bytes: int,
    duration_ms: float,
    client: str,
    user: str | None = None,
    action: str | None = None,
    repository: str | None = None,
) -> None:
    """Log one answered request: queued here, written by `flush_access`.

    Without structlog's chain and a write per line, because every pull does this.

    `path` may have a query string; signatures and tokens in it are masked, control characters are escaped.
    """
    if not _Output.is_access_logged:
        return
    line = _AccessLine(
        event="access",
        timestamp=_now(),
        level="info",
        request_id=request_id,
        method=method,
        path=redact_text(path) if "=" in path or " " in path else path,
        status=status,
        bytes=size_bytes,
        duration_ms=round(duration_ms * 1000) / 1000,  # faster than round() to decimals
        client=client,
        user=user,
        action=action,
        repository=repository,
    )
    encoded = _encode(line)
    # Escaping is hardly ever necessary. JSON writes the first control characters with a backslash.
    if _BACKSLASH in encoded or _DELETE in encoded or not encoded.isascii():
        line = _escaped(line)
        encoded = _encode(line)
    _Output.pending.append(encoded + b"\n" if _Output.is_json else _readable(line).encode())
    if len(_Output.pending) >= ACCESS_BATCH:
        flush_access()


def _now() -> str:
    """The time for an access line: RFC 3339, UTC, to the millisecond."""
    return _millisecond(time.time_ns() // 1_000_000)


@functools.lru_cache(maxsize=2)
def _millisecond(now_ms: int) -> str:
    return f"{_second(now_ms // 1000)}.{now_ms % 1000:03d}+00:00"


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def flush_access() -> bool:
    """Write the queued access lines; returns whether there were any. The server calls it several times a second and
    when it ends."""
    lines, _Output.pending = _Output.pending, []
    if lines:
        with contextlib.suppress(OSError):  # if the disk of the log is full, requests are still answered
            sys.stderr.flush()
            sys.stderr.buffer.write(b"".join(lines))
            sys.stderr.buffer.flush()
    return bool(lines)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """structlog processor: masks values of secret keys, and credentials and signatures inside texts."""
    return {key: value if key in _INTERNAL else _redacted(key, value) for key, value in event.items()}


def redact_text(text: str) -> str:
    """`text` without Bearer and Basic credentials, passwords in URLs and secret query parameters."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    if "=" in text:
        text = _without_secret_parameters(text)
    return _AUTHORIZATION.sub(rf"\1 {MASK}", text)


def _without_secret_parameters(text: str) -> str:
    kept, position = [], 0
    for parameter in _PARAMETER.finditer(text):
        name, begin = parameter[1].lower(), parameter.end()
        is_secret = name.endswith(_SECRET_ENDINGS) or name.replace("_", "-").rpartition("-")[2] in _SECRET_WORDS
        value = _VALUE.match(text, begin) if is_secret and begin >= position else None
        if value is not None:
            kept += [text[position:begin], MASK]
            position = value.end()
    return "".join([*kept, text[position:]])


def granian_log_config() -> dict[str, Any]:
    """granian's loggers without handlers of their own, so that their lines are formatted as ours."""
    silent = {"propagate": True}
    # Incremental: it adds nothing, and does not visit all loggers of a worker, whose memory is shared until then.
    return {
        "version": 1,
        "incremental": True,
        "disable_existing_loggers": False,
        "formatters": {},
        "handlers": {},
        "loggers": {"_granian": silent, "granian.access": silent},
    }


def _redacted(key: object, value: Any) -> Any:
    if isinstance(key, str) and _SECRET_KEY.search(key) and value is not None:
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if value is None or isinstance(value, int | float):  # skips the costly check for a Mapping
        return value
    if isinstance(value, Mapping):
        return {inner: _redacted(inner, item) for inner, item in value.items()}
    if isinstance(value, Sequence):
        return [_redacted(None, item) for item in value]
    return value


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]


def _route_standard_library(level: str, stream: TextIO) -> None:
    renderer: Processor = structlog.processors.JSONRenderer() if _Output.is_json else _console_renderer(stream)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_shared_processors()],
            processors=[_without_internals, renderer],
        )
    )
    handler.addFilter(_without_clients_traceback)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("django.request").addFilter(_is_ours_to_mend)  # a level would be undone by `django.setup`


def _is_ours_to_mend(record: logging.LogRecord) -> bool:
    """Django logs every 4xx and 501 answer; those are in the access log already."""
    return record.levelno >= logging.ERROR and getattr(record, "status_code", None) != HTTPStatus.NOT_IMPLEMENTED


def _without_clients_traceback(record: logging.LogRecord) -> bool:
    """Requests that Django refuses as suspicious are the client's fault: the traceback within Django does not help."""
    if record.name.startswith("django.security."):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def _is_ours(handler: logging.Handler) -> bool:
    return isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter)


def _console_renderer(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=stream.isatty())


def _without_internals(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop what the formatter added, and objects that Django attaches to its records."""
    for key in (*_INTERNAL, "request", "server_time", "status_code", "data"):
        event.pop(key, None)
    event["event"] = _one_line(str(event.get("event", "")))
    return event


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def _escaped(line: _AccessLine) -> _AccessLine:
    texts = {name: value for name, value in msgspec.structs.asdict(line).items() if isinstance(value, str)}
    return msgspec.structs.replace(line, **{name: _one_line(text) for name, text in texts.items()})


def _readable(line: _AccessLine) -> str:
    who = " ".join(
        f"{key}={value}"
        for key, value in (("user", line.user), ("action", line.action), ("repository", line.repository))
        if value
    )
    return (
        f"{line.timestamp} {line.method} {line.path} {line.status} {line.bytes}B {line.duration_ms}ms "
        f"{line.client} {who} request_id={line.request_id}\n"
    )
