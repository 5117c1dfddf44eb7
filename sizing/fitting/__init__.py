"""How the speed constants follow from measurements, and how far off they leave estimates."""
