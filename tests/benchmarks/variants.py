"""``--variants`` of the benchmarks that train one stage by itself."""

from __future__ import annotations

from nnunet_synth_aug.core.errors import UserError


def settings_of(text: str, *parts: str) -> dict[str, str]:
    """``NAME:SETTING SETTING;NAME:SETTING`` as settings by name, all of them of these parts of the configuration.

    Raises:
        UserError: another part's, which the variants share.
    """
    variants = {name.strip(): settings for name, _, settings in (one.partition(":") for one in text.split(";"))}
    for setting in " ".join(variants.values()).split():
        if not setting.startswith(tuple(f"{part}." for part in parts)):
            raise UserError(f"--variants {setting}: everything but {' and '.join(f'{part}.*' for part in parts)} is shared by the variants")
    return variants
