"""Write a simulated sky as a download: table.parquet and images, for `sommelier prepare table`.

Usage: simulate.py FOLDER [NAME=VALUE]...   with the names and values of `images.simulation.simulate`
"""

import sys
from pathlib import Path

from PIL import Image

from galaxy_sommelier.core.config import value_of
from galaxy_sommelier.core.files import atomic_path
from galaxy_sommelier.images.simulation import simulate

folder, values = Path(sys.argv[1]), dict(word.split("=") for word in sys.argv[2:])
table, images = simulate(**{name: value_of(text) for name, text in values.items()})
table["path"] = [f"images/{galaxy}.png" for galaxy in table.id_str]
(folder / "images").mkdir(parents=True, exist_ok=True)
for path, image in zip(table.path, images, strict=True):
    Image.fromarray(image).save(folder / path)
with atomic_path(folder / "table.parquet") as partial:
    table.to_parquet(partial)
