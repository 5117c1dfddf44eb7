"""May I sell with this model? The verdict of its licence as one sentence."""

from __future__ import annotations

from sizing.facts import Licence, Model

_VERDICT = {
    "yes": "may be sold with",
    "conditions": "may be sold with under conditions",
    "no": "may not be used commercially",
    "unknown": "may perhaps not be used commercially",
}


def verdict(model: Model, licence: Licence) -> str:
    """One sentence: whether *model* may be used commercially, under which licence, and why."""
    seen = f" (seen: {model.licence_stated})" if model.licence_stated else ""
    return f"{model.name} {_VERDICT[licence.commercial]}: {licence.name}{seen}: {licence.why}."
