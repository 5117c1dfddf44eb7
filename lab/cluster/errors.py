"""What goes wrong on purpose: one exception whose text is the whole message."""


class LocalError(RuntimeError):
    """The cluster cannot do what was asked; the text says why and what would help."""
