"""What a row costs in GPU hours, by a throughput that the same campaign has measured on a GPU."""

from campaign import Plan, Row

from galaxy_sommelier.core.files import read_json

ALIKE = ("backbone", "image_size")  # a throughput holds for trainings that agree in these


def gpu_hours(plan: Plan, row: Row) -> str:
    """Return the GPU hours of a training on images, or that they are not measured."""
    if row.values.get("stage") not in ("lora", "full") or "epochs" not in row.values:
        return "not measured"
    store = plan.out / row.values["store"] / "store.json"
    for measured in plan.experiments.values():
        metrics = plan.out / measured.folder / "metrics.json"
        if "throughput" not in measured.command or not (metrics.exists() and store.exists()):
            continue
        facts = read_json(metrics)
        if facts["machine"]["device"] == "cpu" or any(row.values[k] != measured.values[k] for k in ALIKE):
            continue
        galaxies = row.values["epochs"] * read_json(store)["splits"]["train"]
        return f"{galaxies / facts['images_per_second']['train, one epoch'] / 3600:.2f}"
    return "not measured"
