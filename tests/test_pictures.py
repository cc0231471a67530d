"""GIFs of beating hearts: what is outlined stays told apart, and greys stay grey."""

import numpy as np
from PIL import Image, ImageSequence

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.synthesis.pictures import cycle_pictures, write_gif


def heart() -> tuple[np.ndarray, np.ndarray]:
    """Two frames of (T, X, Y, Z) with all three structures, on every grey value."""
    mask = np.zeros((2, 32, 32, 1), np.uint8)
    mask[:, 4:14, 6:26], mask[:, 14:28, 6:26], mask[:, 17:25, 10:22] = RV, MYO, LV
    return np.tile(np.linspace(0, 1000, 32)[None, :, None, None], (2, 1, 32, 1)), mask


def test_outlines_keep_their_colours_and_greys_stay_grey(tmp_path):
    pictures = cycle_pictures(*heart(), n_slices=1)
    write_gif(tmp_path / "heart.gif", pictures, colours=48)
    with Image.open(tmp_path / "heart.gif") as gif:
        frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(gif)]
    for drawn, shown in zip(frames, pictures, strict=False):  # equal frames are one, shown for longer
        coloured = (shown != shown[..., :1]).any(axis=-1)
        assert 200 < coloured.sum() < coloured.size / 4
        assert (drawn[~coloured] == drawn[~coloured][:, :1]).all()
        assert np.abs(drawn - shown)[~coloured].max() <= 4  # half a step between 36 greys
        assert np.abs(drawn - shown)[coloured].max() <= 24  # a step between four greys under an outline is 21
