# What type checkers and editors see; at run time __init__.py loads these when they are first used.
from nnunet_synth_aug.api import UserError as UserError
from nnunet_synth_aug.api import compare as compare
from nnunet_synth_aug.api import load_generator as load_generator
from nnunet_synth_aug.api import sample as sample
from nnunet_synth_aug.api import score as score

__version__: str
