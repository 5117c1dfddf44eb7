"""The sizing core: request in, plan out. Imports no cloud library, network, clock or environment."""
