"""
Start SGLang with the API key from the environment variable QWEN_API_KEY, out of sight.

SGLang takes its key from the command line only, where the process list shows it, and logs every setting at start,
the key among them. Here the key joins the arguments inside this process, leaves the environment, and is struck from
every log record. The process stays PID 1 and becomes the server.
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
        message = made.getMessage()
        if secret in message:
            made.msg, made.args = message.replace(secret, "[key]"), None
        return made

    logging.setLogRecordFactory(record)


if __name__ == "__main__":
    key = os.environ.pop("QWEN_API_KEY")
    hide_in_logs(key)
    sys.argv += ["--api-key", key]
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)
