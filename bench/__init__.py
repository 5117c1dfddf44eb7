"""How long an answer takes: ``python -m bench`` beside what was recorded before (docs/performance.md)."""
