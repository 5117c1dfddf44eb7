"""
Start SGLang with the guard around its server.

SGLang has no flag for a middleware, so every FastAPI application of this process gets the guard as its outermost layer:
outside of whatever SGLang adds itself, and whichever of its servers the arguments choose. The process stays PID 1 and
becomes the server. Processes that the server spawns import this file too, and are guarded alike.
"""

import logging
import runpy
from typing import Any

from fastapi import FastAPI
from guard import Guard

engines_own = FastAPI.build_middleware_stack
FastAPI.build_middleware_stack = lambda app: Guard(engines_own(app))  # type: ignore[unused-ignore,method-assign,assignment,return-value]

# It asks its own port for this at its start, in vain; the guard does so after the warm-up.
logging.getLogger("sglang.srt.entrypoints.http_server").addFilter(lambda record: "freeze_gc failed" not in record.msg)


def abort_what_is_given_up() -> None:
    """
    0.5.18 and 0.5.19 forget a stream whose client left before they would abort it, so that it fills its place to its
    last token (sgl-project/sglang issue 36333, mended by pull request 35255): abort it first.
    """
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    if forget := getattr(TokenizerManager, "_discard_pending_req_states", None):

        def abort_and_forget(manager: TokenizerManager, request: Any) -> None:
            for rid in [request.rid] if isinstance(request.rid, str) else request.rid or ():
                manager.abort_request(rid)
            forget(manager, request)

        TokenizerManager._discard_pending_req_states = abort_and_forget


if __name__ == "__main__":
    abort_what_is_given_up()
    # This file stays the main module, so that spawned processes import it.
    runpy.run_module("sglang.launch_server", run_name="__main__")
