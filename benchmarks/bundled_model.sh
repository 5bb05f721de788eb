#!/bin/sh
# The recipe of the bundled lite2, from research data to sa_engine/model/weights/lite2.safetensors.
#
#   benchmarks/bundled_model.sh cpu|gpu DATA [WORK]
#
# DATA: folder with train/SET, dev/SET and unlabelled/, in any format that `sa-engine import` reads.
# WORK: where datasets and runs go.  Every step resumes where it was stopped.  `gpu` takes ten minutes of
# one GPU for all training, the detector's among it (`bundled_model_gpu.sh`); `cpu` hours of two cores, and
# the detector comes after it (`bundled_detector.sh`).
# Environment: ENGINE, the command (default: sa-engine); PYTHON, the one that has it; TEACHER, the model whose embedding the new encoder is
# fitted to before anything else (default: the bundled model; it was vit_t when lite2 was made).
set -eu

KIND=${1:?cpu or gpu}
DATA=${2:?the folder with train/, dev/ and unlabelled/}
WORK=${3:-out/bundled-model}
ENGINE=${ENGINE:-sa-engine}
HERE=$(dirname "$0")
WEIGHTS=sa_engine/model/weights
# Sets whose masks are things, and sets whose masks are parts of one thing.
THINGS="coco coco_people endangered cats segmush dsb2018 bsds500"
PARTS="ccp facades carparts"
case $KIND in
cpu | gpu) ;;
*)
    echo "unknown kind $KIND: give cpu or gpu" >&2
    exit 2
    ;;
esac

mkdir -p "$WORK/train" "$WORK/dev"
for set in $THINGS $PARTS; do
    test -f "$WORK/train/$set.done" && continue
    $ENGINE import "$DATA/train/$set" --out "$WORK/train/$set"
    touch "$WORK/train/$set.done"
done
for set in lvis grabcut pennfudan bsds500; do
    test -f "$WORK/dev/$set.done" && continue
    $ENGINE import "$DATA/dev/$set" --out "$WORK/dev/$set"
    touch "$WORK/dev/$set.done"
done

# in_train SET...: their folders.
in_train() { for set; do echo "$WORK/train/$set"; done; }

# Two files hold all of it, 37 MiB.  Whole objects weigh more than the square root of a set's size would
# give them: what people click on is rather a cat than a window.
if ! test -f "$WORK/things.pack"; then
    # shellcheck disable=SC2046,SC2086
    $ENGINE train pack $(in_train $THINGS) --image-size 512 --quality 32 --weight coco=40 \
        --weight coco_people=20 --weight endangered=15 --weight cats=12 --weight segmush=6 \
        --weight dsb2018=8 --weight bsds500=40 --out "$WORK/things.pack"
fi
if ! test -f "$WORK/parts.pack"; then
    # shellcheck disable=SC2046,SC2086
    $ENGINE train pack $(in_train $PARTS) --image-size 448 --quality 22 --weight ccp=25 \
        --weight facades=12 --weight carparts=12 --out "$WORK/parts.pack"
fi

# The ImageNet backbone learns to say what the teacher's embedding says; a decoder that met it without
# that would collapse to empty masks.
START="$WORK/start.safetensors"
if ! test -f "$START"; then
    # shellcheck disable=SC2086
    $ENGINE train align --images "$DATA/unlabelled" --arch lite2 --image-size 512 --steps 300 \
        ${TEACHER:+--teacher "$TEACHER"} --out "$START"
fi

# stage NAME INIT OPTIONS...: one run of training on a CPU.
stage() {
    name=$1 init=$2
    shift 2
    test -f "$WORK/$name.safetensors" || $ENGINE train sam --recipe pretrained --name lite2 --init "$init" \
        --out "$WORK/$name.safetensors" --data "$WORK/things.pack" --data "$WORK/parts.pack" "$@"
}

if [ "$KIND" = gpu ]; then
    RESULTS="$WORK/results"
    test -f "$WORK/run/final.safetensors" || ENGINE="$ENGINE" "$HERE/bundled_model_gpu.sh" "$START" \
        "$RESULTS" "$WORK/run" "$WORK/things.pack" "$WORK/parts.pack"
    cp "$WORK/run/final.safetensors" "$WORK/lite2.safetensors"
else
    # One process of one thread.  `--precision bf16` in ENGINE's place where the processor has it.
    stage small "$START" --image-size 384 --steps 600 --rounds 2
    stage large "$WORK/small.safetensors" --image-size 512 --steps 600 --rounds 3 --freeze-stages 0
    stage final "$WORK/large.safetensors" --image-size 512 --steps 120 --rounds 6 --iou 3 \
        --freeze-encoder --decoder-lr-scale 1 --lr 3e-4
    cp "$WORK/final.safetensors" "$WORK/lite2.safetensors"
fi

# What everything mode keeps is chosen on training pictures, whose known regions leave nothing out.
MODEL="$WORK/lite2.safetensors"
$ENGINE evaluate thresholds "$WORK/train/bsds500" --max-images 40 --checkpoint "$MODEL" --write

# GrabCut takes most of the time, so pictures with many masks give a few of them, the same for all.
DEV="$WORK/dev/grabcut $WORK/dev/pennfudan $WORK/dev/lvis $WORK/dev/bsds500"
# shellcheck disable=SC2086
$ENGINE evaluate points $DEV --checkpoint "$MODEL" --boxes --max-masks 4 --out "$WORK/points.parquet" --force
$ENGINE evaluate table "$WORK/points.parquet" --markdown --record "$MODEL"
$ENGINE evaluate proposals "$WORK/dev/lvis" "$WORK/dev/bsds500" --checkpoint "$MODEL" \
    --markdown --out "$WORK/proposals.parquet" --force
mkdir -p "$WEIGHTS"
cp "$MODEL" "$WEIGHTS/lite2.safetensors"
if [ "$KIND" = gpu ]; then
    $ENGINE evaluate boxes "$WORK/dev/lvis" "$WORK/dev/pennfudan" --checkpoint "$MODEL" --grid 32 --markdown \
        --detector "$WORK/run/lite2-detector.safetensors" --out "$WORK/boxes.parquet" --force
    cp "$WORK/run/lite2-detector.safetensors" "$WEIGHTS/"
fi
