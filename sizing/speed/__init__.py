"""How fast a replica is: one step, the scheduler over it, and what a client sees."""
