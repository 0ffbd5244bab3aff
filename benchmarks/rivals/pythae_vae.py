"""pythae, as its documentation shows it, with the network of the example script: 784-400-20, Bernoulli pixels.

In a race, a round is one epoch of `BaseTrainer.train()`, with what it does by default: bar, log, a copy of the best
model, the final model on disk. As a script, `pythae_vae.py --epochs 1`, it is pythae's `TrainingPipeline`, with the
test images as `eval_data`.
"""

from __future__ import annotations

import time
from typing import Any

import race
import torch
import torch.nn.functional as F
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn

#: The trainer's settings in pythae's README, its 50 epochs and its two workers aside.
README = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 200,
    "per_device_eval_batch_size": 200,
    "steps_saving": 20,
    "optimizer_cls": "AdamW",
    "optimizer_params": {"weight_decay": 0.05, "betas": (0.91, 0.995)},
    "scheduler_cls": "ReduceLROnPlateau",
    "scheduler_params": {"patience": 5, "factor": 0.5},
}


class Encoder(BaseEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_variance = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)

    def forward(self, x: Tensor) -> ModelOutput:
        hidden = F.relu(self.hidden(x.flatten(1)))
        return ModelOutput(embedding=self.mean(hidden), log_covariance=self.log_variance(hidden))


class Decoder(BaseDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.pixels = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, z: Tensor) -> ModelOutput:
        pixels = torch.sigmoid(self.pixels(F.relu(self.hidden(z))))
        return ModelOutput(reconstruction=pixels.view(-1, 1, 28, 28))


class TellTestLoss(TrainingCallback):
    """Print what the trainer has measured on the test images, where the race listens."""

    def on_log(self, training_config: BaseTrainerConfig, logs: dict[str, Any], **more: Any) -> None:
        print(f"epoch {more['global_step']}: test loss {logs['eval_epoch_loss']:.4f}", flush=True)


def network() -> VAE:
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(), decoder=Decoder())


def images(part: str, count: int | None = None) -> Tensor:
    return torch.from_numpy(race.mnist(part, count)[0]).float().div(255).unsqueeze(1)


def main() -> None:
    parser = race.parser(__doc__)
    parser.add_argument("--epochs", type=int, help="train and test so often; without it, answer a race's rounds")
    parser.add_argument("--readme", action="store_true", help="the settings of pythae's README instead of --batch-size")
    given = parser.parse_args()
    settings = {
        "learning_rate": 1e-3,
        "per_device_train_batch_size": given.batch_size,
        "per_device_eval_batch_size": given.batch_size,
        **(README if given.readme else {}),
    }
    settings |= {"output_dir": "pythae", "num_epochs": given.epochs or 1, "no_cuda": given.device == "cpu"}
    settings |= {"train_dataloader_num_workers": given.workers, "eval_dataloader_num_workers": given.workers}
    config, model = BaseTrainerConfig(**settings), network()
    if given.epochs is not None:
        pipeline = TrainingPipeline(training_config=config, model=model)
        pipeline(images("train", given.images), images("test"), callbacks=[TellTestLoss()])
        return
    pipeline = TrainingPipeline(training_config=config, model=model)
    dataset = pipeline.data_processor.to_dataset(images("train", given.images))

    def one_round() -> tuple[int, float]:
        trainer = BaseTrainer(model, dataset, training_config=config)
        began = time.perf_counter()
        trainer.train()
        return given.images, time.perf_counter() - began

    race.serve(one_round)


if __name__ == "__main__":
    main()
