# The stages of a run; each is skipped or resumed when its output is there. Sourced by the scripts beside it.
work=${1:-work}
seconds=40
bandmate=${BANDMATE:-.venv/bin/bandmate}
[ -x "$bandmate" ] || bandmate=bandmate

render_songs() {
    "$bandmate" prepare midi --out "$work/rendered" --renditions "$renditions" --seconds "$seconds" ${songs:+--data "$songs"}
}

train_codec() {
    "$bandmate" train codec --data "$work/rendered/train" --out "$work/codec" --preset "$preset" --resume
}

encode_songs() {
    "$bandmate" prepare store --data "$work/rendered" --codec "$work/codec" --out "$work/prepared"
}

train_duet() {
    "$bandmate" train lm --data "$work/prepared" --out "$work/duet" --preset "$preset" --resume
}

make_bundle() {
    "$bandmate" train bundle --codec "$work/codec" --lm "$work/duet" --out "$work/bundle"
    echo "listen: $bandmate stream bandmate/assets/demo/demo.flac -o out.wav --model $work/bundle"
}
