"""What an empty mask or a missing prediction scores, by name; every report says which rule it followed.

The distance to an empty mask is infinite, and an infinite value would make every mean infinite. Leaving such cases out
rewards the model that failed. The default therefore puts the largest distance that the image allows in its place.
"""

from __future__ import annotations

from nnunet_synth_aug.core.errors import UserError

PENALTY, NAN, DROP = "penalty", "nan", "drop"

_EXCLUDED = "Where both masks are empty there is nothing to score: every metric is NaN, and the pair is counted."
#: Policy -> what it does, as the reports print it.
EMPTY_POLICIES: dict[str, str] = {
    PENALTY: "One mask empty, or a prediction that is missing and was allowed to be: overlap 0, distances the diagonal of the image "
    f"box, which no distance can exceed. {_EXCLUDED}",
    NAN: f"One mask empty: overlap 0, distances NaN and left out of every mean. A missing prediction is NaN throughout. {_EXCLUDED}",
    DROP: f"One mask empty, or a prediction missing: every metric NaN, so that the pair takes no part in any mean. {_EXCLUDED}",
}

#: The same for the foot of a table; "" where a table came without word of its policy.
IN_SHORT: dict[str, str] = {
    PENALTY: "one mask empty: overlap 0, distance the diagonal of the image box",
    NAN: "one mask empty: overlap 0, distance left out of both arms",
    DROP: "one mask empty: the case left out of both arms",
    "": "empty masks: as in the tables that were read",
}


def checked(policy: str) -> str:
    """``policy``, or UserError naming the ones there are."""
    if policy not in EMPTY_POLICIES:
        raise UserError(f"there is no policy {policy!r} for empty masks; choose one of {', '.join(EMPTY_POLICIES)}")
    return policy
