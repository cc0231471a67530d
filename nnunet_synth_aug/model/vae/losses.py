"""Losses of the VAE, one value per row (B,). Every one ignores what is not valid: padded slices and the outside of a crop.

Each row is normalised by its own valid voxels, so that a row's loss does not depend on the batch that it is computed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch
import torch.nn.functional as F

from nnunet_synth_aug.core.labels import N_CLASSES

#: Side of the windows of texture_l1: about a wall's thickness.
TEXTURE = 8
#: Filters by offset: the difference of neighbours, and the second difference of pixels two apart.
SLOPE = {0: -1.0, 1: 1.0}
BEND = {0: 1.0, 2: -2.0, 4: 1.0}


def row_mean(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean of ``value`` (B, ...) where ``weight`` (broadcastable) is 1 -> (B,); 0 for a row without any such element."""
    weight = weight.expand_as(value)
    return (value * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) per element (Kingma and Welling, arXiv 1312.6114, appendix B)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def edge_l1(image: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """L1 of in-plane finite differences at two scales; all (B, 1, X, Y, Z).

    It keeps the endocardial border sharp, offline and without a pretrained perceptual network.
    """
    total = image.new_zeros(len(image))
    for _, step, wanted, inside in _filtered(image, target, valid, SLOPE):
        total = total + row_mean((step - wanted).abs(), inside)
    return total / 2


def texture_l1(image: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """L1 between the amounts of fine structure, wherever it lies; all (B, 1, X, Y, Z).

    The amounts are means of absolute second differences in plane, over windows of TEXTURE pixels, at two scales. What a latent does not
    tell, such as the place of every trabecula, is punished least when it is left out, so that losses per pixel blur. This one asks for
    as much of it as there was. Second differences, because the power of images falls so steeply with frequency that first ones are
    nearly all borders, and sharper borders would stand for trabeculae. Between pixels two apart, because between neighbours a
    checkerboard has the most difference for its amplitude, and the decoder would pay in that coin.
    """
    total = image.new_zeros(len(image))
    for scale, bend, wanted, inside in _filtered(image, target, valid, BEND):
        side = min(TEXTURE >> scale, *bend.shape[2:4])
        window, half = (side, side, 1), (max(side // 2, 1), max(side // 2, 1), 1)
        found, asked, share = (F.avg_pool3d(v, window, half) for v in (bend.abs() * inside, wanted.abs() * inside, inside))
        total = total + row_mean((found - asked).abs(), (share > 0.5).to(share))
    return total / 2


def _filtered(
    image: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, weights: dict[int, float]
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Scale, image and target after a filter along an axis, and where all pixels it takes are valid: two scales, two in-plane axes.

    Args:
        image: (B, 1, X, Y, Z), as the next two.
        target: likewise.
        valid: likewise.
        weights: of the filter by offset, the first of which is 0.
    """
    reach = max(weights)
    for scale in range(2):
        if scale:
            # A coarse pixel counts where all of its four are valid; the others would mix in what is not.
            image, target, valid = (F.avg_pool3d(v, (2, 2, 1)) for v in (image, target, valid))
            valid = (valid == 1).to(valid)
        for axis in (2, 3):
            n = valid.shape[axis] - reach
            if n < 1:  # a small crop has nothing this coarse
                continue
            inside = reduce(torch.mul, (valid.narrow(axis, offset, n) for offset in weights))
            one, other = (reduce(torch.add, (w * v.narrow(axis, offset, n) for offset, w in weights.items())) for v in (image, target))
            yield scale, one, other, inside


def dice_ce(logits: torch.Tensor, mask: torch.Tensor, valid: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Soft Dice plus cross-entropy of labelled volumes.

    Args:
        logits: (B, classes, X, Y, Z).
        mask: (B, X, Y, Z) integer labels.
        valid: (B, 1, X, Y, Z).
        annotated: (B, classes) 1 where the class was contoured. Structures that were not contoured are
            merged with the background before the comparison, so that they are neither learnt as
            background nor punished.
    """
    keep = annotated[:, :, None, None, None]
    log_p = F.log_softmax(logits.float(), dim=1)
    # log of the merged background = logsumexp over background and every unannotated class
    foreground = (torch.arange(N_CLASSES, device=logits.device) > 0)[None, :, None, None, None]
    merged = torch.logsumexp(log_p.masked_fill((keep > 0) & foreground, -1e4), dim=1)
    one_hot = F.one_hot(mask.long(), N_CLASSES).movedim(-1, 1).to(log_p)
    log_p = torch.cat([merged[:, None], log_p[:, 1:]], dim=1)
    one_hot = torch.cat([one_hot[:, :1] + (one_hot[:, 1:] * (1 - keep[:, 1:])).sum(1, keepdim=True), one_hot[:, 1:] * keep[:, 1:]], dim=1)
    cross_entropy = row_mean(-(one_hot * log_p).sum(1, keepdim=True), valid)
    p, y = log_p[:, 1:].exp() * valid, one_hot[:, 1:] * valid
    overlap, total = (p * y).sum((2, 3, 4)), (p + y).sum((2, 3, 4))  # (B, classes - 1)
    present = annotated[:, 1:]
    dice_loss = ((1 - (2 * overlap + 1) / (total + 1)) * present).sum(1) / present.sum(1).clamp_min(1)
    return cross_entropy + dice_loss


def consistency(logits: torch.Tensor, teacher: torch.Tensor, valid: torch.Tensor, confidence: float = 0.9) -> torch.Tensor:
    """Cross-entropy with the teacher's mask where it is confident (mean teacher, Tarvainen and Valpola, arXiv 1703.01780)."""
    certainty, label = teacher.float().softmax(1).max(1, keepdim=True)
    value = F.cross_entropy(logits.float(), label[:, 0], reduction="none")[:, None]
    return row_mean(value, valid * (certainty > confidence))
