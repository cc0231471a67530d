"""A digital beating-heart cohort: short-axis bSSFP cines whose masks and priors are exact in every frame.

Anatomy is analytic (polar contours along a long axis), motion conserves myocardial volume, the signal is the bSSFP steady
state of each tissue, and volumes are fitted so that the voxel-counted masks hold the drawn or requested priors.
"""

from nnunet_synth_aug.data.phantom.physiology import refuse_what_no_phantom_has
from nnunet_synth_aug.data.phantom.subject import PhantomSubject, PhantomTruth, phantom_cohort, phantom_name, phantom_subject

__all__ = ["PhantomSubject", "PhantomTruth", "phantom_cohort", "phantom_name", "phantom_subject", "refuse_what_no_phantom_has"]
