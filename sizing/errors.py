"""
Everything the kit refuses, as one small tree. The command line prints the sentences and exits 2.

    KitError            one or more sentences for a person
    ├── BadRequest      the request, or a question, is not well-formed or contradicts itself
    ├── UnknownFact     a name that no data file has; says which file to add
    ├── Unsupported     known, but no engine (or no such version) serves it
    └── DoesNotFit      nothing that was allowed can carry the request; says what would
"""

from __future__ import annotations

_LONGEST_ECHO = 80


def echo(asked: object) -> str:
    """What a person wrote, as a sentence can hold it: quoted, escaped and cut."""
    text = repr(asked[:_LONGEST_ECHO] if isinstance(asked, str) else asked)
    return text if len(text) <= _LONGEST_ECHO + 2 else text[:_LONGEST_ECHO] + "..."


class KitError(Exception):
    """Expected; *problems* are whole sentences, all that were found."""

    kind = "refused"

    def __init__(self, *problems: str, kind: str | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        if kind:
            self.kind = kind


class BadRequest(KitError):
    kind = "bad-request"


class UnknownFact(KitError):
    kind = "unknown-fact"


class Unsupported(KitError):
    kind = "unsupported"


class DoesNotFit(KitError):
    kind = "does-not-fit"
