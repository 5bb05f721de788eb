#!/bin/bash
# The bundled lite2 and its detector, trained on one GPU that is lent for minutes.
#
#   benchmarks/bundled_model_gpu.sh START RESULTS WORK PACK...
#
# START: weights to train on from.  PACK: training sets as `sa-engine train pack` made them.
# WORK: where runs go.  RESULTS: a folder that gets, after every phase, what is worth keeping: weights in
# parts of at most 15 MB (`cat final.safetensors.part-* > final.safetensors`), the detector, metrics.
#
# Everything ends within BUDGET seconds: all weights first (phase A), then the decoder alone with six
# rounds of clicks (phase B), then the detector on the final encoder.  A phase that fails is tried once more
# with half the batch and half the rate.  SMOKE=1 measures speed instead and trains nothing.
#
# Environment, with defaults: BUDGET=580 DECODER_S=70 DETECTOR_S=130 BATCH=48 MASKS=8 LR=8e-4 DEVICE=cuda
# WORKERS=15 COMPILE= (--compile to use torch.compile) EXTRA= (more options of phases A and B)
# ENGINE="python3 -m sa_engine"
set -u

main() {
START=$1 RESULTS=$2 WORK=$3
shift 3
BEGUN=$(date +%s)
BUDGET=${BUDGET:-580} DECODER_S=${DECODER_S:-70} DETECTOR_S=${DETECTOR_S:-130}
BATCH=${BATCH:-48} MASKS=${MASKS:-8} LR=${LR:-8e-4} DEVICE=${DEVICE:-cuda} WORKERS=${WORKERS:-15}
COMPILE=${COMPILE:-} EXTRA=${EXTRA:-} PYTHON=${PYTHON:-python3} STARTUP_S=${STARTUP_S:-22}
ENGINE=${ENGINE:-$PYTHON -m sa_engine}
PYTHONPATH=$(cd "$(dirname "$0")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$WORK/inductor}
mkdir -p "$WORK" "$RESULTS" "$TORCHINDUCTOR_CACHE_DIR"
DATA=""
for pack in "$@"; do DATA="$DATA --data $pack"; done

elapsed() { echo $(($(date +%s) - BEGUN)); }
say() { echo "[$(elapsed) s] $*" | tee -a "$RESULTS/log.txt"; }

say "$($PYTHON -c 'import torch, cv2, PIL, numpy, pyarrow; print(torch.__version__, cv2.__version__,
PIL.__version__, numpy.__version__, pyarrow.__version__, torch.cuda.is_available() and
torch.cuda.get_device_name())')" "$(nproc --all) cores, $(df -h /dev/shm | awk 'NR == 2 {print $4}') of /dev/shm"

if [ -n "${SMOKE:-}" ]; then
    [ "$DEVICE" = cuda ] && $PYTHON benchmarks/depthwise.py | tee "$RESULTS/depthwise.txt"
    # shellcheck disable=SC2086
    timeout "$BUDGET" $PYTHON benchmarks/training_speed.py "$@" --init "$START" --device "$DEVICE" \
        --batch-images "${BATCHES:-32,64}" --masks-per-image "$MASKS" --seconds "${SECONDS_EACH:-8}" \
        --data-workers "$WORKERS" --profile $COMPILE ${SPEED:-} 2>&1 | tee "$RESULTS/speed.txt"
    tar -C "$TORCHINDUCTOR_CACHE_DIR" -czf "$WORK/inductor.tgz" . &&
        [ "$(stat -c %s "$WORK/inductor.tgz")" -lt 16000000 ] &&
        cp "$WORK/inductor.tgz" "$RESULTS/"
    exit 0
fi
[ -f "$(dirname "$START")/inductor.tgz" ] &&
    tar -C "$TORCHINDUCTOR_CACHE_DIR" -xzf "$(dirname "$START")/inductor.tgz"

# keep FILE NAME: copy a file in parts that the way back carries.
keep() { split -b 15000000 "$1" "$RESULTS/$2.part-"; }

# minutes SECONDS: so many seconds for a phase, as minutes.
minutes() { awk -v s="$1" 'BEGIN {printf "%.3f", (s > 6 ? s : 6) / 60}'; }

# train NAME SECONDS INIT BATCH LR OPTIONS...: one run of `train sam`.
train() {
    name=$1 seconds=$2 init=$3 batch=$4 lr=$5
    shift 5
    say "phase $name: $seconds s, batch $batch, rate $lr"
    # shellcheck disable=SC2086
    $ENGINE train sam --recipe pretrained --name lite2 --init "$init" --out "$WORK/$name.safetensors" $DATA \
        --precision bf16 --device "$DEVICE" --data-workers "$WORKERS" --steps 1000000 \
        --max-minutes "$(minutes "$seconds")" --batch-images "$batch" --lr "$lr" \
        --masks-per-image "$MASKS" --schedule cosine --warmup-steps "${WARMUP:-60}" \
        --final-lr-fraction 0.02 --weight-decay 0.05 --freeze-stages 0 \
        --min-area 48 --centre-probability 0.5 --inner-probability 0.5 \
        --max-scale 2 $EXTRA "$@" >>"$RESULTS/log.txt" 2>&1
    status=$?
    say "phase $name ended with status $status"
    cat "$WORK"/*.run/metrics.jsonl >"$RESULTS/metrics.jsonl" 2>/dev/null
    tail -2 "$WORK/$name.safetensors.run/metrics.jsonl" 2>/dev/null
    [ "$status" -eq 0 ] && [ -f "$WORK/$name.safetensors" ]
}

left() { echo $((BUDGET - $(elapsed) - $1)); }

AFTER_A=$((DECODER_S + DETECTOR_S + 2 * STARTUP_S + 8))
phase_a() { train all "$(left $((AFTER_A + STARTUP_S)))" "$START" "$@" --rounds 3 --synthetic 0.05 \
    --drop-path 0.05 --ema-decay 0.995; }
# shellcheck disable=SC2086
phase_a "$BATCH" "$LR" $COMPILE || {
    rm -rf "$WORK"/all.safetensors*
    tail -5 "$RESULTS/log.txt"
    phase_a $((BATCH / 2)) "$(awk -v r="$LR" 'BEGIN {print r / 2}')"
}
FINAL=$START
if [ -f "$WORK/all.safetensors" ]; then
    FINAL=$WORK/all.safetensors
    keep "$FINAL" all.safetensors
fi

phase_b() { train final "$(left $((DETECTOR_S + 2 * STARTUP_S + 4)))" "$FINAL" "$@" --freeze-encoder \
    --decoder-lr-scale 1 --rounds 6 --iou 3 --synthetic 0.03 --ema-decay 0.99; }
DECODER_BATCH=${DECODER_BATCH:-32}
# shellcheck disable=SC2086
phase_b "$DECODER_BATCH" "${DECODER_LR:-3e-4}" $COMPILE || {
    rm -rf "$WORK"/final.safetensors*
    tail -5 "$RESULTS/log.txt"
    phase_b $((DECODER_BATCH / 2)) 1.5e-4
}
if [ -f "$WORK/final.safetensors" ]; then
    FINAL=$WORK/final.safetensors
    keep "$FINAL" final.safetensors
fi

seconds=$(left $((STARTUP_S + 3)))
if [ "$DETECTOR_S" -gt 0 ]; then
    say "detector: $seconds s"
    # What people look for are things: parts, cells and mushrooms are left out.
    # shellcheck disable=SC2086
    timeout $((seconds + STARTUP_S)) $ENGINE train detector --checkpoint "$FINAL" --name lite2 $DATA \
        --weight coco=40 --weight ccp=8 --weight coco_people=6 --weight endangered=8 --weight cats=6 \
        --weight bsds500=5 --weight facades=0 --weight carparts=0 --weight segmush=0 --weight dsb2018=0 \
        --views 0 --steps 1000000 --max-minutes "$(minutes "$seconds")" --batch-images 16 \
        --data-workers "$WORKERS" --device "$DEVICE" --out "$WORK/lite2-detector.safetensors" \
        >>"$RESULTS/log.txt" 2>&1
    say "detector ended with status $?"
    cp "$WORK/lite2-detector.safetensors" "$RESULTS/" 2>/dev/null
    cp "$WORK/lite2-detector.safetensors.run/metrics.jsonl" "$RESULTS/detector-metrics.jsonl"
fi
say "done: $(du -sh "$RESULTS" | cut -f1) of results"
ls -l "$RESULTS"
tail -25 "$RESULTS/log.txt"
}

main "$@"
