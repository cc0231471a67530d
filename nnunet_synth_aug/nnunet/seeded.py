"""nnU-Net's training command with the seed that it has not: of initial weights, and of the patches of every attempt.

    python -m nnunet_synth_aug.nnunet.seeded SEED ATTEMPT 27 2d 0 -tr nnUNetTrainerSynthAug_mix50 ...

What nnU-Net's loader processes draw stays unseeded, as nnU-Net seeds them from the clock. A training that goes on after a kill is
another attempt: with the first one's random numbers it would repeat the patches of its first epochs.

On a CPU nnU-Net asks for as many threads as the machine has cores. A command that may use only some of the cores gets no more threads
than those, since threads of one core wait for each other.
"""

from __future__ import annotations

import os
import random
import sys

import numpy as np
import torch
from nnunetv2.run.run_training import run_training_entry


def main() -> None:
    """Seed the random generators, then train with nnU-Net's own command."""
    seed = int(np.random.SeedSequence([int(sys.argv.pop(1)), int(sys.argv.pop(1))]).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if hasattr(os, "sched_getaffinity"):
        ask, usable = torch.set_num_threads, len(os.sched_getaffinity(0))
        torch.set_num_threads = lambda nthreads: ask(min(nthreads, usable))
    run_training_entry()


if __name__ == "__main__":
    main()
