"""What an engine makes of settings: its defaults, its refusals, its arguments, and how it cuts a model."""
