"""Which hardware and settings meet a request."""
