"""What setup.cfg can't say: the recipes of experiments/ and the explorer's page travel within the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["genkit*"]), "genkit.experiments"],
    package_dir={"genkit.experiments": "experiments"},
    package_data={"genkit.experiments": ["*.toml"], "genkit.explore": ["static/*"]},
)
