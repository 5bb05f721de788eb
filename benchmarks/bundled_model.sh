#!/bin/sh
# The recipe of the bundled model, from research data to sa_engine/model/weights/vit_t.safetensors.
#
#   benchmarks/bundled_model.sh [cpu|gpu] [DATA] [WORK]
#
# DATA: folder with train/ and dev/ as ../shared/data has them.  WORK: where datasets and runs go.
# Every step goes on where it was stopped; `gpu` takes larger batches, sizes and more steps.
# Environment: ENGINE, the command (default: sa-engine); WORKERS, processes that prepare images.
set -eu

KIND=${1:-cpu}
DATA=${2:-../shared/data}
WORK=${3:-out/bundled-model}
ENGINE=${ENGINE:-sa-engine}
WEIGHTS=sa_engine/model/weights/vit_t.safetensors
SETS="coco coco_people ccp facades carparts endangered cats segmush dsb2018 bsds500"

mkdir -p "$WORK/train" "$WORK/dev"
for set in $SETS; do
    test -f "$WORK/train/$set.done" && continue
    $ENGINE import "$DATA/train/$set" --out "$WORK/train/$set"
    touch "$WORK/train/$set.done"
done
for set in lvis grabcut pennfudan bsds500; do
    test -f "$WORK/dev/$set.done" && continue
    $ENGINE import "$DATA/dev/$set" --out "$WORK/dev/$set"
    touch "$WORK/dev/$set.done"
done

# Whole objects weigh more than the square root of a set's size would give them: what people click
# on is rather a cat than a window.
PHOTOS=""
for set in $SETS; do PHOTOS="$PHOTOS --data $WORK/train/$set"; done
PHOTOS="$PHOTOS --weight coco=40 --weight coco_people=25 --weight ccp=20 --weight facades=8
    --weight carparts=10 --weight endangered=18 --weight cats=12 --weight segmush=4
    --weight dsb2018=6 --weight bsds500=30"

# stage NAME OPTIONS...: one run of training, from the last one's weights.
LAST=""
stage() {
    name=$1
    shift
    out="$WORK/$name.safetensors"
    if ! test -f "$out"; then
        # shellcheck disable=SC2086
        $ENGINE train sam --recipe scratch --name "$name" --out "$out" $LAST $LAUNCH "$@"
    fi
    LAST="--init $out"
}

case $KIND in
cpu)
    # Two processes of one thread are faster than one of two, above all on a machine that is shared.
    LAUNCH="--data-workers 0"
    # shellcheck disable=SC2086
    stage easy --synthetic 1 --scenes easy --image-size 112 --steps 1500 --batch-images 8 \
        --rounds 1 --schedule constant
    # shellcheck disable=SC2086
    stage middle $PHOTOS --synthetic 0.5 --scenes middle --image-size 112 --steps 4000 \
        --batch-images 8 --rounds 1 --schedule constant
    # shellcheck disable=SC2086
    stage final $PHOTOS --synthetic 0.25 --image-size 224 --steps 4000 --batch-images 8 --rounds 3
    ;;
gpu)
    LAUNCH="--precision bfloat16 --data-workers ${WORKERS:-14}"
    # shellcheck disable=SC2086
    stage easy --synthetic 1 --scenes easy --image-size 112 --steps 1500 --batch-images 32 \
        --rounds 1 --schedule constant --masks-per-image 12
    # shellcheck disable=SC2086
    stage middle $PHOTOS --synthetic 0.5 --scenes middle --image-size 224 --steps 6000 \
        --batch-images 32 --rounds 2 --schedule constant --masks-per-image 16
    # shellcheck disable=SC2086
    stage final $PHOTOS --synthetic 0.2 --image-size 448 --steps 8000 --batch-images 32 \
        --rounds 5 --masks-per-image 16 --bce 1 --focal 10 --ema-decay 0.999
    ;;
*)
    echo "unknown kind $KIND: give cpu or gpu" >&2
    exit 2
    ;;
esac

mkdir -p "$(dirname "$WEIGHTS")"
cp "$WORK/final.safetensors" "$WEIGHTS"
$ENGINE evaluate points "$WORK/dev/grabcut" "$WORK/dev/pennfudan" "$WORK/dev/lvis" \
    "$WORK/dev/bsds500" --checkpoint "$WEIGHTS" --boxes --markdown --out "$WORK/points.parquet"
$ENGINE evaluate proposals "$WORK/dev/lvis" "$WORK/dev/bsds500" --checkpoint "$WEIGHTS" \
    --markdown --out "$WORK/proposals.parquet"
