"""Generators of earlier versions load if their settings can still be followed, and are refused in one sentence if not."""

import pytest

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.paths import GENERATOR_META
from nnunet_synth_aug.model.config import RETIRED, GeneratorConfig, preset
from nnunet_synth_aug.model.pretrained import PHANTOM


def with_retired(place, value):
    """The config of `tiny` as an earlier version wrote it."""
    config = preset("tiny").to_json()
    part, name = place.split(".")
    for holder in [config["vae"]["train"], config["static"]["train"]] if part == "train" else [config[part]]:
        holder[name] = value
    return config


@pytest.mark.parametrize("place", RETIRED)
def test_a_retired_setting_loads_at_the_value_at_which_it_did_nothing_and_at_no_other(place):
    assert GeneratorConfig.from_json(with_retired(place, RETIRED[place])) == preset("tiny")
    with pytest.raises(UserError, match=rf"^the generator's config has {place} = 0.5, .*'synthaug fit' again$"):
        GeneratorConfig.from_json(with_retired(place, 0.5))


def test_the_generator_that_ships_has_retired_settings_and_loads():
    values = read_json(PHANTOM / GENERATOR_META)["config"]
    assert values["vae"]["mask_weight"] == RETIRED["vae.mask_weight"]
    assert GeneratorConfig.from_json(values).static.train.steps == values["static"]["train"]["steps"]
