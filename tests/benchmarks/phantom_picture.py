"""Phantoms as a bank holds them where the training images show the whole chest: docs/images/phantoms.png.

python tests/benchmarks/phantom_picture.py
"""

from __future__ import annotations

import numpy as np
from page_table import DOCS

from nnunet_synth_aug.core.labels import LV
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.synthesis.pictures import frame_picture, grey_window, titled, write_montage

FIELD, SIDE = 330.0, 250


def main() -> None:
    shown = []
    for number in range(4):
        source = phantom_subject(number, seed=1, field=FIELD).source
        image, mask = np.asarray(source.image[0], np.float32), source.masks["ED"]
        z = int(np.argmax(np.count_nonzero(mask == LV, axis=(0, 1))))
        picture = frame_picture(image, mask, grey_window(image), [z], SIDE)
        shown.append(titled([picture], f"{source.priors.diagnosis}, {source.priors.vendor}")[0])
    write_montage(DOCS / "images" / "phantoms.png", [np.concatenate(shown, axis=1)])


if __name__ == "__main__":
    main()
