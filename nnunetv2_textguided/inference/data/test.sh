#!/usr/bin/env bash
# Build the container and run it on one study, as Grand Challenge does: no network, no privileges.
#   ./test.sh INPUT OUTPUT      INPUT holds images/transverse-{{t2,adc,hbv}}-prostate-mri/*.mha
set -euo pipefail
input=$(realpath "$1") && mkdir -p "$2" && chmod a+rwx "$2" && output=$(realpath "$2")
docker build -t {name} "$(dirname "$0")"
docker run --rm --network none --cap-drop ALL --security-opt no-new-privileges --shm-size 128m --pids-limit 256 \
    -v "$input":/input:ro -v "$output":/output {name}
find "$output" -type f
