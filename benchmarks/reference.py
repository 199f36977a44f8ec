"""What a user would run instead: transformers on torch, the same shape, random weights, the usual settings.

Training is a plain loop with fused AdamW and gradient clipping, under bfloat16 autocast or in float32; sampling is
`generate` with its key/value cache, weights in the type named. Run by a Python of the user's own choice.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
import transformers

from benchmarks.measure import answer, peak_memory, repeat


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The result of a job (see `compare.compare`)."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _model(job).to(device)
    timing = {"train": train, "sample": sample, "rl": rl}[job["task"]](model, job, device)
    return {
        **timing,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "peak_memory": torch.cuda.max_memory_allocated() if device == "cuda" else peak_memory(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def train(model: Any, job: dict[str, Any], device: str) -> dict[str, Any]:
    """Times AdamW steps on one batch of full rows with loss on every token."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    model.train()
    shape = job["batch"], job["length"]
    tokens = torch.randint(model.config.vocab_size, shape, device=device)
    low = job["dtype"] == "bfloat16"

    def steps() -> float:
        for _ in range(job["steps"]):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=low):
                loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()  # waits for the device

    return repeat(steps, tokens=job["steps"] * shape[0] * shape[1], warmup=job["warmup"], repeats=job["repeats"])


def sample(model: Any, job: dict[str, Any], device: str) -> dict[str, Any]:
    """Times whole replies, the prompts' prefill included, at temperature 1."""
    model.to(getattr(torch, job["dtype"])).eval()
    tokens = torch.randint(model.config.vocab_size, (job["batch"], job["prompt"]), device=device)
    settings = transformers.GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=job["new"], pad_token_id=0
    )

    def reply() -> None:
        sampled = model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=settings)
        assert sampled.shape[1] == job["prompt"] + job["new"]
        sampled.cpu()  # waits for the device

    return repeat(reply, tokens=job["batch"] * job["new"], warmup=job["warmup"], repeats=job["repeats"])


def rl(model: Any, job: dict[str, Any], device: str) -> dict[str, Any]:
    """Times one iteration of PPO, as a plain loop: generate, score, log-probabilities and values, four updates."""
    policy, reference = model, copy.deepcopy(model).eval()
    judge, critic = (_Scorer(copy.deepcopy(model.model)).to(device) for _ in range(2))
    low, prompt, new = job["dtype"] == "bfloat16", job["prompt"], job["new"]
    parameters = [*policy.parameters(), *critic.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    prompts = torch.randint(model.config.vocab_size, (job["batch"], prompt), device=device)
    settings = transformers.GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=new, pad_token_id=0
    )
    phases: dict[str, float] = {}

    def logprobs(of: Any, tokens: Any) -> Any:
        logits = of(input_ids=tokens, use_cache=False).logits[:, prompt - 1 : -1].float()
        return torch.log_softmax(logits, -1).gather(-1, tokens[:, prompt:, None])[..., 0]

    def iteration() -> None:
        began = time.perf_counter()
        with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16, enabled=low):
            tokens = policy.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=settings)
            tokens.cpu()
            phases["sampling"] = time.perf_counter() - began
            score = judge(tokens)[:, -1]
            score.cpu()
            phases["scoring"] = time.perf_counter() - began - phases["sampling"]
            old, theirs = logprobs(policy, tokens), logprobs(reference, tokens)
            values = critic(tokens)[:, prompt - 1 : -1]
        rewards = -0.05 * (old - theirs)
        rewards[:, -1] += score
        advantages, following = torch.zeros_like(rewards), torch.zeros(len(rewards), device=device)
        for place in reversed(range(new)):
            after = values[:, place + 1] if place + 1 < new else 0.0
            following = rewards[:, place] + after - values[:, place] + 0.95 * following
            advantages[:, place] = following
        returns = advantages + values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        for rows in torch.randperm(len(tokens), device=device).chunk(4):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=low):
                ratio = torch.exp(logprobs(policy, tokens[rows]) - old[rows])
                found = critic(tokens[rows])[:, prompt - 1 : -1]
            clipped = torch.clamp(ratio, 0.8, 1.2)
            near = values[rows] + torch.clamp(found - values[rows], -0.2, 0.2)
            value_loss = torch.maximum((found - returns[rows]) ** 2, (near - returns[rows]) ** 2).mean()
            loss = -torch.minimum(ratio * advantages[rows], clipped * advantages[rows]).mean() + 0.25 * value_loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the device
        phases["learning"] = time.perf_counter() - began - phases["sampling"] - phases["scoring"]

    timing = repeat(iteration, tokens=job["batch"] * new, warmup=job["warmup"], repeats=job["repeats"])
    return {**timing, "phases": phases}


class _Scorer(torch.nn.Module):
    """A trunk with a scalar head: a score at every token."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk, self.head = trunk, torch.nn.Linear(trunk.config.hidden_size, 1)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.trunk(input_ids=tokens, use_cache=False).last_hidden_state)[..., 0].float()


def _model(job: dict[str, Any]) -> Any:
    shape = job["config"]
    config = transformers.LlamaConfig(
        vocab_size=shape["vocab"],
        hidden_size=shape["width"],
        intermediate_size=shape["mlp"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        head_dim=shape["head_width"],
        rms_norm_eps=shape["norm_eps"],
        tie_word_embeddings=shape["tied"],
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=None,  # every reply has its full length
    )
    return transformers.LlamaForCausalLM(config)


if __name__ == "__main__":
    answer(run)
