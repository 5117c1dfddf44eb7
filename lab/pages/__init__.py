"""Pages and tables of the documentation that are worked out, not written."""
