"""Stands in for nnUNetv2_train: as quick as a file is written, and it dies in whichever way the trainer's name says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

RESULTS = "nnUNet_results"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def main() -> int:
    words = sys.argv[1:]
    trainer, plans = (words[words.index(option) + 1] for option in ("-tr", "-p"))
    model = Path(os.environ[RESULTS]) / words[0] / f"{trainer}__{plans}__{words[1]}"
    folder = model / f"fold_{words[2]}"
    calls = folder / "calls.txt"
    earlier = len(calls.read_text().splitlines()) if calls.is_file() else 0
    with calls.open("a") as file:
        file.write(" ".join(words) + "\n")
    print(f"{trainer} starts, gpu {os.environ.get('CUDA_VISIBLE_DEVICES')}", flush=True)
    if trainer.startswith("Slow"):
        time.sleep(3)
    if trainer == "Broken":
        print("ValueError: these plans make no sense", flush=True)
        return 1
    if trainer == "KilledAlways" or (trainer == "KilledOnce" and not earlier):
        print("about to be killed", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if trainer == "Endless" or (trainer in ("WorkerKilledOnce", "EngineKilledOnce") and not earlier):
        helper = subprocess.Popen(["sleep", "600"])  # as nnU-Net's loader processes
        draft = folder / "left_behind.partial"
        draft.write_text(json.dumps([os.getpid(), helper.pid]))
        draft.rename(folder / "left_behind.json")
        job = parent(os.getppid())
        if trainer == "WorkerKilledOnce":
            os.kill(job, signal.SIGKILL)
        if trainer == "EngineKilledOnce":
            os.kill(parent(job), signal.SIGKILL)
        time.sleep(600)
    if trainer == "Forgetful":
        return 0
    with zipfile.ZipFile(folder / "checkpoint_final.pth", "w") as archive:
        archive.writestr("data.pkl", b"weights")
    if trainer == "EngineKilledValidating" and not earlier:
        os.kill(parent(parent(os.getppid())), signal.SIGKILL)
        time.sleep(600)
    (folder / "validation").mkdir(exist_ok=True)
    summary = {"foreground_mean": {"Dice": 0.5}, "metric_per_case": [{}]}
    (folder / "validation" / "summary.json").write_text(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
