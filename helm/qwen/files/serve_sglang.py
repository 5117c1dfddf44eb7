"""
Start SGLang with the guard around its server.

SGLang has no flag for a middleware, so every FastAPI application of this process gets the guard as its outermost layer:
outside of whatever SGLang adds itself, and whichever of its servers the arguments choose. The process stays PID 1 and
becomes the server. Processes that the server spawns import this file too, and are guarded alike.
"""

import logging
import runpy

from fastapi import FastAPI
from guard import Guard

engines_own = FastAPI.build_middleware_stack
FastAPI.build_middleware_stack = lambda app: Guard(engines_own(app))  # type: ignore[method-assign,assignment,return-value]

# It asks its own port for this at its start, in vain; the guard does so after the warm-up.
logging.getLogger("sglang.srt.entrypoints.http_server").addFilter(lambda record: "freeze_gc failed" not in record.msg)

if __name__ == "__main__":
    # This file stays the main module, so that spawned processes import it.
    runpy.run_module("sglang.launch_server", run_name="__main__")
