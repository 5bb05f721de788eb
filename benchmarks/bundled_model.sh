#!/bin/sh
# The recipe of the bundled model, from research data to sa_engine/model/weights/vit_t.safetensors.
#
#   benchmarks/bundled_model.sh cpu|gpu DATA [WORK]
#
# DATA: folder with train/SET and dev/SET, in any format that `sa-engine import` reads.  WORK: where datasets and runs go.
# Every step goes on where it was stopped; `gpu` takes larger batches, sizes and more steps.
# Environment: ENGINE, the command (default: sa-engine); WORKERS, processes that prepare images.
set -eu

KIND=${1:?cpu or gpu}
DATA=${2:?the folder with train/ and dev/}
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
PHOTOS="$PHOTOS --weight coco=40 --weight coco_people=20 --weight ccp=25 --weight facades=12
    --weight carparts=12 --weight endangered=15 --weight cats=12 --weight segmush=6
    --weight dsb2018=8 --weight bsds500=40"

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
    # One process of one thread: two that wait for each other at every step gained nothing on two
    # cores that had anything else to do.  `torchrun` in ENGINE uses more.
    LAUNCH="--data-workers 0"
    # shellcheck disable=SC2086
    stage easy --synthetic 1 --scenes easy --image-size 112 --batch-images 8 --steps 3000 --rounds 1 \
        --min-area 30 --schedule constant
    # shellcheck disable=SC2086
    stage photos $PHOTOS --synthetic 0.4 --image-size 112 --batch-images 8 --steps 4000 --rounds 1 \
        --min-area 30 --schedule constant
    # shellcheck disable=SC2086
    stage wide $PHOTOS --synthetic 0.25 --image-size 224 --optimizer muon --batch-images 16 --steps 600 \
        --masks-per-image 8 --min-area 24 --schedule constant --warmup-steps 15 --ema-decay 0.985
    # Two runs that know nothing of each other, one on each core if they are started by hand; their
    # mean is better than either.
    WIDE=$LAST
    for run in 1 2; do
        LAST=$WIDE
        # shellcheck disable=SC2086
        stage "fine-$run" $PHOTOS --synthetic 0.15 --image-size 448 --optimizer muon --batch-images 8 \
            --micro-batch 4 --masks-per-image 9 --steps 400 --iou 2 --final-lr-fraction 0.05 \
            --min-area 48 --warmup-steps 10 --ema-decay 0.96 --seed "2$run"
    done
    $ENGINE model average "$WORK/fine-1.safetensors" "$WORK/fine-2.safetensors" --force \
        --out "$WORK/mean.safetensors"
    # Many rounds of clicks: the decoder learns them alone in the time of a few rounds with the rest.
    LAST="--init $WORK/mean.safetensors"
    # shellcheck disable=SC2086
    stage final $PHOTOS --freeze-encoder --synthetic 0.1 --image-size 448 --optimizer muon \
        --batch-images 8 --micro-batch 4 --masks-per-image 8 --steps 60 --rounds 6 --iou 3 \
        --similarity 0 --final-lr-fraction 0.03 --min-area 48 --warmup-steps 5 --ema-decay 0.93 \
        --name vit_t
    ;;
gpu)
    # Not tried yet: what was learnt on CPUs, with larger batches and pictures.
    LAUNCH="--precision bfloat16 --data-workers ${WORKERS:-14} --batch-images 32"
    # shellcheck disable=SC2086
    stage easy --synthetic 1 --scenes easy --image-size 112 --steps 3000 --rounds 1 \
        --min-area 30 --schedule constant --masks-per-image 12 --lr 4e-4
    # shellcheck disable=SC2086
    stage photos $PHOTOS --synthetic 0.4 --image-size 224 --steps 8000 --rounds 2 \
        --schedule constant --masks-per-image 16 --lr 4e-4
    # shellcheck disable=SC2086
    stage final $PHOTOS --synthetic 0.2 --image-size 448 --steps 8000 --rounds 5 \
        --masks-per-image 16 --bce 1 --focal 10 --ema-decay 0.999 --lr 4e-4
    ;;
*)
    echo "unknown kind $KIND: give cpu or gpu" >&2
    exit 2
    ;;
esac

# What everything mode keeps is chosen on training pictures, whose known regions leave nothing out.
MODEL="$WORK/vit_t.safetensors"
cp "$WORK/final.safetensors" "$MODEL"
$ENGINE evaluate thresholds "$WORK/train/bsds500" --max-images 40 --checkpoint "$MODEL" --write

# GrabCut takes most of the time, so pictures with many masks give a few of them, the same for all.
DEV="$WORK/dev/grabcut $WORK/dev/pennfudan $WORK/dev/lvis $WORK/dev/bsds500"
# shellcheck disable=SC2086
$ENGINE evaluate points $DEV --checkpoint "$MODEL" --boxes --max-masks 4 --out "$WORK/points.parquet" --force
$ENGINE evaluate table "$WORK/points.parquet" --markdown --record "$MODEL"
$ENGINE evaluate proposals "$WORK/dev/lvis" "$WORK/dev/bsds500" --checkpoint "$MODEL" \
    --markdown --out "$WORK/proposals.parquet" --force
mkdir -p "$(dirname "$WEIGHTS")"
cp "$MODEL" "$WEIGHTS"
