"""Galaxy morphology from survey images: `predict` reads your images, all else is in eleven packages."""

import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

__version__ = "0.2.0"


def __getattr__(name: str):
    """Import `predict` when it is first used, so that importing the package loads no torch."""
    if name == "predict":
        from .cli.front_door import predict

        return predict
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; modules are in packages, as data.store")


class Registration(MetaPathFinder):
    """Registers our model with transformers once somebody else imports `AutoModel`; until then nothing is loaded."""

    auto, ours = "transformers.models.auto.modeling_auto", "galaxy_sommelier.models.model"
    needed = "galaxy_sommelier.download.weights", "galaxy_sommelier.models.backbone"  # by `ours`

    def find_spec(self, name, path=None, target=None):
        """Find the module of `AutoModel`, and import our model after it."""
        if name != self.auto:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if not sys.modules.keys() & {*self.needed}:  # else it is one of them that imports `AutoModel`
            spec.loader = AndThen(spec.loader, self.ours)
        return spec


class AndThen:
    """A loader that imports another module afterwards."""

    def __init__(self, loader, other):
        self.create_module, self._exec, self._other = loader.create_module, loader.exec_module, other

    def exec_module(self, module):
        """Execute a module, then import the other one."""
        self._exec(module)
        __import__(self._other)


if Registration.auto in sys.modules:
    __import__(Registration.ours)
else:
    sys.meta_path.insert(0, Registration())
