"""Which model and hardware to take, for those who do not know yet."""
