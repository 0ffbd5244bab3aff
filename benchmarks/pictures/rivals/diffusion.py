"""denoising-diffusion-pytorch as its README shows it, at the images' size: its U-Net, its Trainer, its EMA's samples.

What the README says for a GPU is left out, mixed precision and flash attention, and so is the FID, which needs a
network. Of its batch and steps of accumulation (32 and 2), learning rate (8e-5) and EMA (0.995) nothing is changed. It
samples in 250 steps.
"""

from __future__ import annotations

import importlib.metadata
import tempfile

import torch
import torchvision_alone  # noqa: F401  # before whoever imports torchvision
from budget import arguments, hand_over, until
from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet


def main() -> None:
    given = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    net = Unet(dim=64, dim_mults=(1, 2, 4, 8))
    diffusion = GaussianDiffusion(net, image_size=given.size, timesteps=1000, sampling_timesteps=250)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            diffusion,
            str(given.images),
            train_batch_size=32,
            train_lr=8e-5,
            train_num_steps=700_000,
            gradient_accumulate_every=2,
            ema_decay=0.995,
            amp=False,
            calculate_fid=False,
            save_and_sample_every=10**9,
            convert_image_to="RGB",
            results_folder=folder,
        )
        until(given.minutes, trainer.train)
        model = trainer.ema.ema_model.eval()
        with torch.inference_mode():
            hand_over(
                given.out,
                given.minutes,
                given.count,
                lambda count: model.sample(batch_size=count),
                16,
                steps=trainer.step,
                settings="U-Net of width 64 (1, 2, 4, 8), batch 32 × 2, Adam 8e-5, EMA 0.995, 250 sampling steps",
                version=importlib.metadata.version("denoising-diffusion-pytorch"),
            )


if __name__ == "__main__":
    main()
