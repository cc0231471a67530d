"""``python -m nnunet_synth_aug`` is ``synthaug``."""

from nnunet_synth_aug.cli.app import main

if __name__ == "__main__":
    main()
