"""`snakemake --logger stages`: a line per stage in place of Snakemake's lines per job, which go to its log file alone.

On a terminal the last line moves along with the run. Elsewhere a line every minute says where it is.
"""

import logging
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import OutputSettingsLoggerInterface

from slpd.slurm.failures import last_line
from snakemake_logger_plugin_stages.progress import Progress

EVERY_S = 60.0  # between lines of a log
REDRAWN_S = 0.5  # between states of the line on a terminal
CLEAR = "\r\x1b[K"  # to the start of the line, and empty it
BAR = 20  # characters
COMMAND_FAILED = "CalledProcessError in file"  # repeats the whole command of a job of which JOB_ERROR has told
PASSED_ON = ("Complete log(s)", "Nothing to be done")  # of what Snakemake says in no event


class LogHandler(LogHandlerBase):
    """Tells stages instead of jobs; of dry runs, which are asked for their jobs, all that Snakemake tells."""

    def __post_init__(self) -> None:
        """Begin to tell the time too."""
        given = self.common_settings
        self.stream = sys.stdout if given.stdout else sys.stderr
        self.whole = whole_log(given, self.stream) if given.dryrun or given.verbose else None
        self.progress: Progress | None = None
        self.on_terminal = self.stream.isatty()
        self.closed = threading.Event()
        self.writing = threading.RLock()
        if not self.whole:
            self.clock = threading.Thread(target=self.keep_telling, daemon=True)
            self.clock.start()

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: logging.LogRecord) -> None:
        """Count what the record tells, and write what a person wants to know of it."""
        if self.whole:
            self.whole.handle(record)
            return
        try:
            with self.writing:
                self.tell(record, getattr(record, "event", None))
        except Exception:  # a fault in what is written for people must not end a run; it is shown
            self.handleError(record)

    def tell(self, record: logging.LogRecord, event: LogEvent | None) -> None:
        """What follows of a record, by its kind; the fields of records are Snakemake's."""
        now, said = time.monotonic(), vars(record)
        if event == LogEvent.RUN_INFO and not self.progress:
            self.progress = Progress({rule: n for rule, n in said["stats"].items() if rule != "total"}, now)
        elif event == LogEvent.JOB_INFO and self.progress:
            self.progress.start(said["jobid"], said["rule_name"], said["rule_msg"] or said["rule_name"], now)
        elif event == LogEvent.JOB_FINISHED and self.progress:
            self.write(self.progress.end(said["job_id"], now))
        elif event == LogEvent.JOB_ERROR:
            self.write(self.failure(said))
        elif worth_telling(record, event):
            self.write(record.getMessage())

    def failure(self, said: Mapping[str, Any]) -> str:
        """A job that failed: which, why in the words of its log, and where the log is."""
        failed = self.progress.fail(said["jobid"]) if self.progress else None
        lines = [f"failed: {said['rule_name']}{f': {failed.says}' if failed else ''}"]
        for log in said["log"]:
            lines += [f"  {last_line(Path(log)) or 'nothing was logged'}", f"  log: {log}"]
        return "\n".join(lines)

    def write(self, line: str | None) -> None:
        """Write a line for good, above the one that moves."""
        if line:
            self.stream.write(f"{CLEAR if self.on_terminal else ''}{line}\n")
            self.stream.flush()

    def keep_telling(self) -> None:
        """Say where the run is, again and again, until it ends."""
        while not self.closed.wait(REDRAWN_S if self.on_terminal else EVERY_S):
            with self.writing:
                self.tell_progress()

    def tell_progress(self) -> None:
        """Say where the run is: in the line that moves, or in a new one."""
        if not self.progress or not self.progress.running:
            return
        summary = self.progress.summary(time.monotonic())
        if self.on_terminal:
            self.stream.write(CLEAR + fitted(f"{bar(self.progress)} {summary}", columns()))
            self.stream.flush()
        else:
            self.write(summary)

    def close(self) -> None:
        """Leave the terminal with a whole line."""
        self.closed.set()
        if self.progress and self.on_terminal:
            self.stream.write(CLEAR)
            self.stream.flush()
        super().close()


def worth_telling(record: logging.LogRecord, event: LogEvent | None) -> bool:
    """Whether a record that tells of no job is for people: errors, warnings and a few words more."""
    message = record.getMessage()
    if event in (LogEvent.GROUP_ERROR, LogEvent.ERROR):
        return COMMAND_FAILED not in message
    return event is None and (record.levelno >= logging.WARNING or message.startswith(PASSED_ON))


def whole_log(settings: OutputSettingsLoggerInterface, stream: TextIO) -> logging.Handler:
    """What Snakemake writes by itself."""
    handler: logging.Handler = ColorizingTextHandler(nocolor=settings.nocolor, stream=stream)
    shown = (settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds)
    handler.addFilter(DefaultFilter(*shown))
    handler.setFormatter(DefaultFormatter(settings.quiet, settings.show_failed_logs))
    return handler


def bar(progress: Progress) -> str:
    """The share of jobs that have ended."""
    full = BAR * progress.ended // max(progress.total, 1)
    return f"[{'#' * full}{'-' * (BAR - full)}]"


def fitted(line: str, width: int) -> str:
    """A line cut to the terminal, so that it does not break."""
    return line if len(line) < width else line[: width - 2] + "…"


def columns() -> int:
    """The width of the terminal, in characters."""
    return shutil.get_terminal_size().columns
