"""Galaxy morphology from survey images: `predict` reads your images, everything else is in the eleven packages."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """Import `predict` when it is asked for, so that importing the package loads no torch."""
    if name == "predict":
        from .cli.front_door import predict

        return predict
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its modules are in packages, e.g. data.store")
