"""How long an answer takes: ``python -m lab.bench`` beside what was recorded before (docs/performance.md)."""
