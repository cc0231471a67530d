"""How long `synthaug explore` takes to start and to answer, and how near its hearts come to what is asked.

    python tests/benchmarks/explore_speed.py

Starts the command, asks it as the page does, and writes docs/benchmarks/explore.json.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import mean
from typing import Any

from nnunet_synth_aug.core.files import write_json

OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "explore.json"
EFS, EDVS, SEEDS, FRAMES = (20, 35, 50, 65), (100, 150, 220), (0, 1), (8, 30)


def answer(url: str, wish: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Seconds until the heart is there, and the heart."""
    request = urllib.request.Request(f"{url}/api/hearts", json.dumps(wish).encode(), {"Content-Type": "application/json"})
    begun = time.monotonic()
    key = json.load(urllib.request.urlopen(request))["id"]
    while True:
        told = json.load(urllib.request.urlopen(f"{url}/api/hearts/{key}"))
        if told["state"] == "done":
            return time.monotonic() - begun, told["heart"]
        if told["state"] not in ("waiting", "running"):
            raise RuntimeError(told)
        time.sleep(0.1)


def main() -> None:
    begun = time.monotonic()
    command = [sys.executable, "-u", "-m", "nnunet_synth_aug", "explore", "--port", "8400"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = next(found[0] for line in process.stdout or () if (found := re.search(r"http://[\d.:]+", line)))
        start = time.monotonic() - begun
        try:
            wishes = [{"lv_ef": ef, "lv_edv": edv, "seed": seed} for seed in SEEDS for ef in EFS for edv in EDVS]
            answers = [answer(url, wish) for wish in wishes]
            others = {n: [answer(url, {"lv_ef": 45, "lv_edv": 170, "seed": seed, "frames": n})[0] for seed in range(3)] for n in FRAMES}
        finally:
            process.terminate()
    seconds, hearts = zip(*answers, strict=True)
    off = {name: [abs(h["measured"][name] - h["asked"][name]) for h in hearts] for name in ("lv_ef", "lv_edv")}
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPU cores",
        "start_seconds": round(start, 1),
        "hearts": len(hearts),
        "seconds": {"least": round(min(seconds), 1), "mean": round(mean(seconds), 1), "most": round(max(seconds), 1)},
        "seconds_by_frames": {str(n): [round(one, 1) for one in several] for n, several in others.items()},
        "off": {name: {"mean": round(mean(values), 1), "most": round(max(values), 1)} for name, values in off.items()},
        "objected_to": sum(bool(h["objections"]) for h in hearts),
        "torn": sum(any("ragged contours" in one for one in h["objections"]) for h in hearts),
    }
    write_json(OUT, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
