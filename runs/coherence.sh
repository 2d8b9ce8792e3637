#!/bin/sh
# The bundled coherence encoder from the MIDI pack, on a CPU: render, learn (half an hour of one core, and as long again
# for the spectra), then how well it tells true stems from wrong ones. Stop it at any time; the same command goes on.
# usage: runs/coherence.sh [FOLDER]   (default: work/)
set -eu
cd "$(dirname "$0")/.."
. runs/common.sh
renditions=3 preset=cpu
render_songs
"$bandmate" train coherence --data "$work/rendered" --out "$work/coherence" --preset "$preset" --resume
"$bandmate" evaluate coherence --rendered "$work/rendered" --network "$work/coherence" --json "$work/coherence.json"
