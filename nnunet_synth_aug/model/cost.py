"""What training a generator costs: which preset suits a device, how long it takes, how much disk it needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Of the three stages together, for one fold."""

    time: str
    megabytes: int  # while it trains; a third to a half of it stays


#: tiny and small were timed on CPUs; base is counted from its FLOPs, never timed (docs/start/install.md).
COSTS = {
    "tiny": Cost("about 10 minutes on two CPU cores", 50),
    "small": Cost("about an hour on two CPU cores", 100),
    "base": Cost("half an hour to an hour on a data-centre GPU (counted, not measured), days on a CPU", 700),
}


def preset_for(device: str) -> str:
    """The preset that suits a device such as ``cuda:1``: base on a GPU, small elsewhere."""
    return "base" if device.startswith("cuda") else "small"


def told(preset: str, chosen: bool) -> str:
    """One line for the screen.

    Args:
        preset: its name.
        chosen: whether the device chose it, and not the user.
    """
    cost = COSTS[preset]
    why = " (chosen by the device; --preset takes another)" if chosen else ""
    return f"preset {preset}{why}: {cost.time}, up to {cost.megabytes} MB of disk"
