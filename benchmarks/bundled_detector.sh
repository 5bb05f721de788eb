#!/bin/sh
# The recipe of the bundled detector, from datasets to sa_engine/model/weights/MODEL-detector.safetensors.
#
#   benchmarks/bundled_detector.sh [WORK]
#
# WORK: where `bundled_model.sh` has put its datasets (train/ and dev/); the detector's run goes there
# too. It belongs to the image encoder of the bundled model: run it anew whenever that is replaced.
# Every step goes on where it was stopped.
# Environment: ENGINE, the command (default: sa-engine); NAME of the bundled model; STEPS (6000) and BATCH (16) of the training;
# WORKERS, processes that prepare images.
set -eu

WORK=${1:-out/bundled-model}
ENGINE=${ENGINE:-sa-engine}
NAME=${NAME:-lite2}
WEIGHTS=sa_engine/model/weights/$NAME-detector.safetensors
# A run belongs to one model: its folder is named after the model's content.
MODEL=$(sha256sum "sa_engine/model/weights/$NAME.safetensors" | cut -c1-12)
DETECTOR="$WORK/detector-$MODEL.safetensors"

# Pictures in which most things are marked, and whole things rather than parts, weigh more.
$ENGINE train detector --model "$NAME" --name "$NAME" --out "$DETECTOR" \
    --data "$WORK/train/coco" --weight coco=40 \
    --data "$WORK/train/ccp" --weight ccp=8 \
    --data "$WORK/train/coco_people" --weight coco_people=6 \
    --data "$WORK/train/endangered" --weight endangered=8 \
    --data "$WORK/train/cats" --weight cats=6 \
    --data "$WORK/train/bsds500" --weight bsds500=5 \
    --steps "${STEPS:-6000}" --batch-images "${BATCH:-16}" --views 4 \
    --data-workers "${WORKERS:-0}"

$ENGINE evaluate boxes "$WORK/dev/lvis" "$WORK/dev/pennfudan" --model "$NAME" \
    --detector "$DETECTOR" --grid 32 --markdown --out "$WORK/boxes-$MODEL.parquet" --force
mkdir -p "$(dirname "$WEIGHTS")"
cp "$DETECTOR" "$WEIGHTS"
