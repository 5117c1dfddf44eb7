"""
Names that one process of this machine has at a time: abstract sockets.

The kernel frees them with the last process that holds the socket, however that ended, and nothing lies about to go
stale.
"""

from __future__ import annotations

import errno
import socket


def claim(name: str) -> socket.socket | None:
    """The socket that stands for *name*, or None if another process has it."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(f"\0{name}")
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return held
