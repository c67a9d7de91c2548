"""What a user can cause, as one message without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RequestError(Exception):
    """A bad request or an environment that cannot serve it: one message naming the thing and the remedy; exit code 2."""


class TrialsFailed(Exception):
    """At least one trial raised or returned an impossible metric; exit code 1."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' for the nearest known names, else the whole list."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f" (did you mean {' or '.join(near)}?)"
    return f" (known: {', '.join(known)})" if known else ""
