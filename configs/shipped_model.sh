#!/usr/bin/env bash
# Train the model that ships, measure its intervals, and put it into the package; go on after any interruption.
# Usage: bash configs/shipped_model.sh DATA OUT BACKBONE
#
# DATA and OUT as for shipped_data.sh; BACKBONE is a folder with DINOv2-S. Hours on two CPU cores.
set -euo pipefail
data=$1 out=$2 backbone=$3
weights=galaxy_sommelier/weights/sommelier-small

[ -e "$out/all" ] || bash configs/shipped_data.sh "$data" "$out"
sommelier train "$out/all" --backbone "$backbone" -c configs/shipped.yaml --out "$out/run"
[ -e "$out/run/model/calibration.json" ] || sommelier calibrate "$out/run" "$out/all" --split val
sommelier card "$out/run" --store "$out/all"
mkdir -p "$weights"
cp -r "$out/run/model" "$out/run/metrics.json" "$out/run/card.md" "$out/run/card.png" "$weights"
