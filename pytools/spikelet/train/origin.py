"""What a manifest says of the recipe and the data that a package was made of."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from spikelet.train import Part
from spikelet.train.data import DataSet
from spikelet.train.recipe import Int8Recipe, Recipe, SpikingRecipe
from spikelet.version import __version__


def origin(
    recipe: Recipe | Int8Recipe | SpikingRecipe, data: DataSet, part: Part, *packages: str
) -> dict[str, Any]:
    """Entries of a manifest.

    Args:
        recipe: of the training.
        data: what it was trained on, and tested on its `part`.
        part: of the data.
        packages: that took part besides PyTorch and numpy.
    """
    events = recipe.data.events
    versions = {name: importlib.metadata.version(name) for name in ("torch", *packages, "numpy")}
    return {
        "name": recipe.name,
        "description": recipe.description,
        "created_by": f"spikelet {__version__}",
        "seed": recipe.seed,
        "versions": {
            "python": platform.python_version(),
            **versions,
            "spikelet": __version__,
        },
        "recipe": recipe.model_dump(exclude_none=True),
        "data": data.name,
        "part": part,
        "test_part": data.test_part,
        "classes": data.classes,
        **({"class_names": list(data.class_names)} if data.class_names else {}),
        "image_shape": list(data.shape[:-1] if data.shape[-1] == 1 else data.shape),
        "samples": len(data.y_test),
        **({"events": {"bin_us": events.bin_us, "pool": events.pool}} if events else {}),
    }
