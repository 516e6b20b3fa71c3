#!/bin/sh
# Make data/bundle anew: a network that is small enough to be kept here, and learned the cluttered digits. It is what the
# tests run and the screenshots show. Five minutes on two cores; the pictures change with it.
#
#     ./record.sh ../../../../.venv/bin/edge-moe
set -eu
cd "$(dirname "$0")"
edge_moe=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd ../../../../examples
OMP_NUM_THREADS=1 "$edge_moe" train cluttered-digits -o "$work/checkpoint" --base my_networks:small_cnn --experts 4 --jobs 2 \
    --augment none --batch-size 40 --epochs 6 --learning-rate 0.05 --expert-epochs 12 --expert-learning-rate 0.03
OMP_NUM_THREADS=1 "$edge_moe" convert "$work/checkpoint" --data cluttered-digits --backend onnx --recipe fp32 -o "$work/bundle"
cd "$OLDPWD"
rm -rf data/bundle
mkdir -p data
rm "$work/bundle/parity.json" "$work/bundle/parity.md"
mv "$work/bundle" data/bundle
