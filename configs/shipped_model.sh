#!/usr/bin/env bash
# Train the model that ships, measure its intervals, and put it into the package; go on after any interruption.
# Usage: bash configs/shipped_model.sh DATA OUT BACKBONE
#
# DATA and OUT as for shipped_data.sh; BACKBONE is a folder with DINOv2-S. Hours on two CPU cores.
set -euo pipefail
data=$1 out=$2 backbone=$3
weights=galaxy_sommelier/weights/sommelier-small run=$out/sommelier-small

[ -e "$out/all" ] || bash configs/shipped_data.sh "$data" "$out"
sommelier train "$out/all" --backbone "$backbone" -c configs/shipped.yaml --out "$run"
[ -e "$run/model/calibration.json" ] || sommelier calibrate "$run" "$out/all" --split val
(cd "$out" && sommelier card sommelier-small --store all) # the card names the model as it is given here
mkdir -p "$weights"
cp -r "$run/model" "$run/metrics.json" "$run/card.md" "$run/card.png" "$weights"
