#!/usr/bin/env bash
# Pack the galaxies that the shipped model learns from. Usage: bash configs/shipped_data.sh DATA OUT
#
# DATA holds kaggle/, kaggle_more/, gz2_counts/, gz2/ and stripe82/, as described in the guide; OUT receives the
# lists of ids, the stores and their mixture. The natural test galaxies are in no list but their own. The
# validation galaxies are 500 of the 1,000 galaxies of an unbroken run of ids in kaggle/, and 500 of the 3,745 in
# kaggle_more/.
set -euo pipefail
data=$1 out=$2
mkdir -p "$out"
kaggle=$data/kaggle/training_solutions_rev1.csv
natural=$data/kaggle_more/natural_run_17_columns.csv

awk -F, 'NR == 1 || $1 < 116000 {print $1}' "$kaggle" >"$out/natural_37.csv"
awk -F, '{print $1}' "$natural" >"$out/natural_17.csv"
cat "$out/natural_37.csv" <(tail -n +2 "$out/natural_17.csv") >"$out/natural.csv"
awk 'NR == 1 || NR % 2 == 0' "$out/natural_37.csv" >"$out/val_37.csv"           # 500
awk 'NR == 1 || (NR % 7 == 2 && n++ < 500)' "$out/natural_17.csv" >"$out/val_17.csv" # 500

sommelier prepare kaggle --root "$data/kaggle" --out "$out/kaggle" \
    --test-ids "$data/kaggle/natural_test_ids.csv" --val-ids "$out/val_37.csv"
sommelier prepare kaggle --root "$data/kaggle_more" --out "$out/more" --test 0 --val 0
sommelier prepare kaggle --root "$data/kaggle_more" --table natural_run_17_columns.csv --out "$out/natural" \
    --test 0 --val-ids "$out/val_17.csv"
# typical galaxies look 1.4 times larger here than in frames of Galaxy Zoo 2; those of Stripe 82 are for tests
counts() { sommelier prepare willett --root "$data/gz2_counts" --kind counts --test 0 --val 0 --scale 1.4 "$@"; }
sommelier prepare willett --root "$data/stripe82" --out "$out/stripe82" --max-bad 1
counts --out "$out/counts-all"
sommelier leaks "$out/stripe82" "$out/counts-all" --out "$out/in_stripe82.csv"
counts --out "$out/counts" --exclude-ids "$out/in_stripe82.csv"
sommelier mix "$out/kaggle" "$out/more" "$out/natural" "$out/counts" --out "$out/all" \
    --reference-ids "$out/natural.csv"

# for tests alone: Galaxy Zoo 2, and which of its galaxies are in a training set
sommelier prepare gz2 --root "$data/gz2" --table gz2_hart16_sample.csv --kind weighted --test 0 --val 0 \
    --out "$out/gz2"
for part in kaggle more natural; do
    sommelier leaks "$out/$part" "$out/gz2" --out "$out/gz2_in_$part.csv"
done
