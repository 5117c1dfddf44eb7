"""From request and facts to the plan, and whether a written one is still fresh."""
