"""What setup.cfg can't say: recipes and the pages of report and explorer travel in the package, the door beside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["genkit*"]), "genkit.experiments"],
    py_modules=["latent_genkit"],
    package_dir={"genkit.experiments": "experiments"},
    package_data={
        "genkit.experiments": ["*.toml"],
        "genkit.report": ["page.html", "page.css"],
        "genkit.explore": ["static/*"],
    },
)
