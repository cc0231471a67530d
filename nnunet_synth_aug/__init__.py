"""Labelled synthetic 4D cardiac MRI as an augmentation for nnU-Net.

For notebooks: :func:`load_generator`, :func:`sample`, :func:`score`, :func:`compare` and :class:`UserError`, all from
:mod:`nnunet_synth_aug.api`. They are loaded when first used: nnU-Net's trainer lookup and the start-up hook import this package
in every process, so importing it loads neither torch nor numpy.
"""

from importlib import import_module as _import_module

__version__ = "0.1.0"
_API = ("UserError", "compare", "load_generator", "sample", "score")


def __getattr__(name: str) -> object:
    if name in _API:
        return getattr(_import_module("nnunet_synth_aug.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
