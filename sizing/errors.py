"""
Everything the kit refuses, as one small tree. The command line prints the sentences and exits 2.

    KitError            one or more sentences for a person
    ├── BadRequest      the request, or a question, is not well-formed or contradicts itself
    ├── UnknownFact     a name that no data file has; says which file to add
    ├── Unsupported     known, but no engine (or no such version) serves it
    └── DoesNotFit      nothing that was allowed can carry the request; says what would
"""

from __future__ import annotations


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
