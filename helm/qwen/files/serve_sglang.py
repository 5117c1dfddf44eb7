"""
Start SGLang with the API key from the environment variable QWEN_API_KEY, out of sight.

SGLang takes its key from the command line only, where the process list shows it, and logs every setting at start,
the key among them. Here the key joins the arguments inside this process, leaves the environment, and is struck from
every log record, here and in the processes that the server spawns: they import this file, and have the same arguments.
The process stays PID 1 and becomes the server.
"""

import logging
import os
import runpy
import sys


def hide_in_logs(secret: str) -> None:
    """Replace *secret* in every log record of this process by [key]."""
    plain_record = logging.getLogRecordFactory()

    def record(*args: object, **kwargs: object) -> logging.LogRecord:
        made = plain_record(*args, **kwargs)  # type: ignore[arg-type]
        try:
            message = made.getMessage()
        except Exception:  # arguments that do not fit: logging reports that by itself, with the arguments
            message = f"{made.msg} {made.args}"
        if secret in message:
            made.msg, made.args = message.replace(secret, "[key]"), None
        return made

    logging.setLogRecordFactory(record)


if __name__ == "__main__":
    sys.argv += ["--api-key", os.environ.pop("QWEN_API_KEY")]
hide_in_logs(sys.argv[-1])
if __name__ == "__main__":
    # This file stays the main module, so that spawned processes import it.
    runpy.run_module("sglang.launch_server", run_name="__main__")
