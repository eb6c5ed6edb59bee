"""The names that timm and transformers import from torchvision, each build of which needs its torch."""

import enum
import sys
import types

from torch import nn

__version__ = "0.28.0"
PARTS = ["ops", "ops.misc", "models", "models.feature_extraction", "transforms", "transforms.functional"]
PARTS += ["transforms.v2", "transforms.v2.functional", "datasets", "io"]


class Names(types.ModuleType):
    """A module in which every name is a class without content."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "InterpolationMode":
            return enum.Enum(name, "NEAREST NEAREST_EXACT BILINEAR BICUBIC BOX HAMMING LANCZOS")
        return type(name, (nn.Module,), {})


for path in PARTS:
    module = sys.modules[f"{__name__}.{path}"] = Names(f"{__name__}.{path}")
    above, _, last = module.__name__.rpartition(".")
    setattr(sys.modules[above], last, module)
