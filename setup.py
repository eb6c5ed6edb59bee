"""Packaging, read from settings.ini: that file is the only place where a version or a dependency is named."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=["="])
config.read(Path(__file__).with_name("settings.ini"), encoding="utf-8")
settings = config["DEFAULT"]
package = settings["lib_path"]

# the experiments and their YAML files live beside the package and travel inside it
shipped = {f"{package}.experiments": "nbs/experiments", f"{package}.configs": "configs"}

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    url=settings["git_url"],
    license="Apache-2.0",
    packages=[*find_packages(include=[package, f"{package}.*"]), *shipped],
    package_dir=shipped,
    package_data={
        package: ["examples/**/*", "weights/**/*"],
        f"{package}.experiments": ["*.ipynb"],
        f"{package}.configs": ["*.yaml", "slurm/*.yaml"],
        f"{package}.inspector": ["screen/*"],
    },
    python_requires=">=" + settings["min_python"],
    install_requires=settings["requirements"].split(),
    extras_require={
        "dev": [
            one for extra in ("dev", "docs", "workflow") for one in settings[f"{extra}_requirements"].split()
        ],
        "docs": settings["docs_requirements"].split(),
        "timm": ["timm>=1.0.31"],
        "vlm": ["openai>=3.54"],
        "workflow": settings["workflow_requirements"].split(),
        "tracking": ["wandb>=0.30", "tensorboard>=2.20"],
    },
    entry_points={"console_scripts": settings["console_scripts"].split()},
)
