"""structlog for our own lines and for those of libraries: JSON in a cluster, colours on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog

from dra_operator.api.text import cut
from dra_operator.cli.printable import printable, printable_lines

_VALUE: Final = 2_000
"""Bytes of one value of a line."""
_TRACEBACK: Final = 20_000


def configure_logging(form: str, level: str) -> None:
    """`form`: auto, json or console; `level`: debug, info, warning or error. To standard error."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    colours = sys.stderr.isatty()
    console = form == "console" or (form == "auto" and colours)
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=colours) if console else structlog.processors.JSONRenderer()
    )
    last: list[structlog.types.Processor] = [
        structlog.processors.format_exc_info,
        bounded,
        *([_shown] if console else []),
    ]
    structlog.configure(
        processors=[*shared, *last, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, renderer],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def bounded(logger: object, method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """What an API server or a tenant has written can be a megabyte; a line that long is lost on its way, or worse."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = cut(value, _TRACEBACK if key == "exception" else _VALUE)
    return event


def _shown(logger: object, method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """For a terminal. JSON escapes by itself."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable_lines(value) if key == "exception" else printable(value)
    return event
