"""The form of log lines, the same in every process: time, level, logger, sentence, key=value fields. Configured once, in a program's __main__."""

from __future__ import annotations

import logging
import time


class FieldsFormatter(logging.Formatter):
    """`2026-11-23T06:41:44.123Z info festoon.session: session lost manager=…`; fields come in `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        fields = getattr(record, "fields", {})
        tail = "".join(f" {key}={value}" for key, value in fields.items())
        text = f"{moment} {record.levelname.lower()} {record.name}: {record.getMessage()}{tail}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure(level: int) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(FieldsFormatter())
    logging.basicConfig(level=level, handlers=[handler])
