"""May I sell with this model? The verdict of its licence as one sentence."""

from __future__ import annotations

from sizing.facts.catalogue import Facts, Licence
from sizing.facts.model import Model

_VERDICT = {
    "yes": "You may sell with",
    "conditions": "Under conditions you may sell with",
    "no": "You may not sell with",
    "unknown": "Nothing at hand says whether you may sell with",
}


def verdict(model: Model, licence: Licence) -> str:
    """One sentence: whether *model* may be used commercially, under which licence, and why."""
    seen = f", seen in {model.licence_stated}" if model.licence_stated else ""
    return f"{_VERDICT[licence.commercial]} {model.name} ({licence.name}{seen}): {licence.why}."


def licence_rows(facts: Facts) -> list[dict[str, object]]:
    """Every licence as a row: verdict, reason, source, and the models under it."""
    return [
        {
            "licence": licence.id,
            "commercial": licence.commercial,
            "why": licence.why,
            "models": " ".join(model.key for model in facts.models.values() if model.licence == licence.id),
            "source": licence.source,
            "dated": licence.dated.isoformat(),
        }
        for licence in facts.licences.values()
    ]
