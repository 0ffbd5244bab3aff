"""What a stranger's repository needs to hold its models to the contract."""

import genkit.testing

TestWGANGP = genkit.testing.contract("wgan-gp", width=16)
TestRBM = genkit.testing.contract("boltzmann", width=16)
