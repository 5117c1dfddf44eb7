"""How answers look on a terminal and on a page."""
