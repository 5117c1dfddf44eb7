"""What would be otherwise: other cards, other settings, what would make a card enough."""
