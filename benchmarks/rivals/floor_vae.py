"""The floor of a 784-400-20 VAE: the matrix products of forward and backward alone, into buffers made beforehand.

No activation, no loss, no bias, no optimiser, no data. Mean and log variance are one layer of 40.
"""

from __future__ import annotations

import time

import race
import torch

#: (inputs, outputs) of each layer.
LAYERS = [(784, 400), (400, 40), (20, 400), (400, 784)]


class Products:
    """The products of one step, of random matrices."""

    def __init__(self, batch: int):
        self.layers = []
        for index, (inputs, outputs) in enumerate(LAYERS):
            x, weight, gradient = torch.randn(batch, inputs), torch.randn(outputs, inputs), torch.randn(batch, outputs)
            to_weight, output = torch.empty(outputs, inputs), torch.empty(batch, outputs)
            to_input = torch.empty(batch, inputs) if index else None  # nobody needs the gradient of the images
            self.layers.append((x, weight, output, gradient, to_weight, to_input))

    def multiply(self) -> None:
        for x, weight, output, _, _, _ in self.layers:
            torch.mm(x, weight.T, out=output)
        for x, weight, _, gradient, to_weight, to_input in reversed(self.layers):
            torch.mm(gradient.T, x, out=to_weight)
            if to_input is not None:
                torch.mm(gradient, weight, out=to_input)


def main() -> None:
    given = race.parser(__doc__).parse_args()
    batch, steps = given.batch_size, given.images // given.batch_size
    products = Products(batch)

    def one_round() -> tuple[int, float]:
        began = time.perf_counter()
        for _ in range(steps):
            products.multiply()
        return steps * batch, time.perf_counter() - began

    race.serve(one_round)


if __name__ == "__main__":
    main()
