"""Settings of a generator of a few thousand weights that is fitted in seconds: mechanics, not quality."""

from nnunet_synth_aug.model.config import GeneratorConfig, GridConfig, LatentConfig, LDMConfig, TrainConfig, VAEConfig

SHORT = TrainConfig(steps=6, batch_size=2)
MICRO = GeneratorConfig(
    preset="micro",
    grid=GridConfig(size=(32, 32, 12)),
    vae=VAEConfig(channels=(4, 8), latent_channels=4, consistency_start=0.3, train=SHORT),
    latents=LatentConfig(copies=8, max_frames=6, harmonics=2, components=12),
    static=LDMConfig(channels=(8, 16), embedding=16, sampler_steps=2, train=SHORT),
    motion=LDMConfig(channels=(8, 16), embedding=16, sampler_steps=2, train=SHORT),
)
