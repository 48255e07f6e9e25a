"""Log lines: a constant phrase and fields, plain or JSON, written to stderr.

    log = log.logger(__name__)
    log.info("stream closed", authority=authority, messages=12)

Values are quoted when they hold anything but plain word characters, so that text from a peer can
neither forge a line nor move the cursor of a terminal.
Source: Linkerd's `-log-format plain|json`, `-log-level` (linkerd2 pkg/flags/flags.go).
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, TextIO

LEVELS = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")
FORMATS = ("plain", "json")

_TRACE = 5
_NUMBER = {
    "trace": _TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}
_BARE = re.compile(r"[\w./:@%+=,\-]+", re.ASCII)


class Logger:
    """Writes events with fields to the standard library's logger of the same name."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def trace(self, phrase: str, **fields: Any) -> None:
        """Logs a step of one request or event."""
        self._log(_TRACE, phrase, fields)

    def debug(self, phrase: str, **fields: Any) -> None:
        """Logs a decision or a deviation."""
        self._log(logging.DEBUG, phrase, fields)

    def info(self, phrase: str, **fields: Any) -> None:
        """Logs a state change that an operator would narrate."""
        self._log(logging.INFO, phrase, fields)

    def warn(self, phrase: str, **fields: Any) -> None:
        """Logs that something is degraded but still served."""
        self._log(logging.WARNING, phrase, fields)

    def error(self, phrase: str, *, exc_info: bool = False, **fields: Any) -> None:
        """Logs that something is broken and needs a person."""
        self._log(logging.ERROR, phrase, fields, exc_info=exc_info)

    def _log(
        self, level: int, phrase: str, fields: dict[str, Any], *, exc_info: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, phrase, extra={"fields": fields}, exc_info=exc_info)


def logger(name: str) -> Logger:
    """Returns the logger of a module; pass `__name__`."""
    return Logger(logging.getLogger(name))


def configure(level: str = "info", format: str = "plain", stream: TextIO | None = None) -> None:
    """Directs all logging of this process to `stream` (default stderr).

    Args:
        level: One of `LEVELS`.
        format: One of `FORMATS`.
        stream: Where lines go.
    """
    logging.addLevelName(_TRACE, "TRACE")
    logging.addLevelName(logging.WARNING, "WARN")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if format == "json" else _PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_NUMBER[level])


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = "".join(
            f" {key}={_plain(value)}" for key, value in getattr(record, "fields", {}).items()
        )
        line = (
            f"{stamp}.{int(record.msecs):03d}Z {record.levelname:5.5} {record.name}: "
            f"{record.getMessage()}{fields}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}Z",
            "level": record.levelname.lower(),
            "target": record.name,
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _plain(value: Any) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)
