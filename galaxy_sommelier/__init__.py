"""Galaxy morphology from survey images: `predict` reads your images, all else is in eleven packages."""

__version__ = "0.2.0"


def __getattr__(name: str):
    """Import `predict` when it is first used, so that importing the package loads no torch."""
    if name == "predict":
        from .cli.front_door import predict

        return predict
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; modules are in packages, as data.store")
