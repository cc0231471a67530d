"""When a study ends, if each step takes as long as expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.benchmark.steps import Step


def on_the_clock(steps: Sequence[Step], seconds: Mapping[str, float], workers: int) -> float:
    """Seconds until the last step ends, when ``workers`` steps run at a time in the order in which a study starts them.

    Args:
        steps: that are still to be run; whatever else they need is there.
        seconds: of each step by its id; those that are missing take none.
        workers: commands at a time.
    """
    open_steps = {step.id for step in steps}
    running: dict[str, float] = {}
    now = 0.0
    while open_steps:
        for step in steps:
            ready = step.id in open_steps and step.id not in running and not open_steps.intersection(step.needs)
            if ready and len(running) < workers:
                running[step.id] = now + seconds.get(step.id, 0.0)
        assert running, "steps wait for each other"
        first = min(running, key=lambda one: running[one])
        now = running.pop(first)
        open_steps.discard(first)
    return now
