"""The sizing core: request in, plan out. Imports no cloud library, network, clock or environment."""

__version__ = "0.1.0"
