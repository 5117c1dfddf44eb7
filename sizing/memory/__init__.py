"""What lies in a GPU's memory: weights, KV cache, adapters and the rest."""
