"""What is known: models, GPUs, engines, places, prices, licences, and the rules of engine releases."""
