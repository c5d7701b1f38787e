"""Cohorts: parts as submitit's jobs, on this machine and through a stand-in for SLURM's commands."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.jobs import JobOptions, Part, predict_cohort
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.processes.jobs import reason
from tests.conftest import REPOSITORY
from tests.inference.models import Model

# Enough of SLURM for submitit: sbatch runs the array's tasks in the background, sacct says which of them have ended.
SLURM = {
    "sbatch": """#!/bin/bash
cp "${@: -1}" submitted.sh
rm -f ended.*
array=$(date +%s%N) # numbers of jobs are never given twice
for task in $(seq 0 $(grep -oE 'array=0-[0-9]+' submitted.sh | cut -d- -f2)); do
  (
    # submitit puts the job's files in place once it knows the job's number.
    until [ -n "$(find . -name "${array}_${task}_submitted.pkl")" ]; do sleep 0.1; done
    export SLURM_JOB_ID=10$task SLURM_ARRAY_JOB_ID=$array SLURM_ARRAY_TASK_ID=$task SLURM_LOCALID=0 SLURM_NTASKS=1
    export SLURM_NODELIST=node SLURM_JOB_NODELIST=node SLURM_NODEID=0 SLURM_PROCID=0 SLURM_JOB_NUM_NODES=1
    bash submitted.sh
    touch ended.$task
  ) > task.$task.log 2>&1 < /dev/null &
done
echo $array > array
echo Submitted batch job $array
""",
    "srun": """#!/bin/bash
while [ "$2" != -u ]; do shift; done
exec "$@"
""",
    "sacct": """#!/bin/bash
echo 'JobID|State|NodeList'
for task in 0 1; do
  [ -e ended.$task ] && state=COMPLETED || state=RUNNING
  echo "$(< array)_$task|$state|node"
done
""",
    "scancel": "#!/bin/sh\n",
}


@pytest.fixture(autouse=True)
def _children_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    search = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", search)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def words(model: Model, images: Path, out: Path, *more: str) -> list[str]:
    usual = ["-f", "0", "--device", "cpu", "--disable_tta", "--candidates", "mask", "-npp", "0", "-nps", "0"]
    return ["predict", "-i", str(images), "-o", str(out), "-m", str(model.folder), *usual, *more]


def cases(out: Path) -> list[str]:
    return [row["case"] for row in csv.DictReader((out / "cases.csv").open())]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # four jobs, each of which imports torch: half a minute on an idle machine
def test_a_slurm_array_predicts_all_cases_and_local_jobs_only_what_is_missing(
    model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in SLURM.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    slurm = ("--executor", "slurm", "--hours", "3", "--sbatch", "partition=gpu", "gres=gpu:1")
    assert main(words(model, images, tmp_path / "out", "--jobs", "2", *slurm)) == 0
    script = (tmp_path / "submitted.sh").read_text()
    for line in ("--array=0-1%2", "--time=180", "--partition=gpu", "--gres=gpu:1", "--cpus-per-task=8"):
        assert f"#SBATCH {line}" in script
    assert cases(tmp_path / "out") == ["ball_0", "none_1"]

    before = (tmp_path / "out" / "ball_0.nii.gz").stat().st_mtime_ns
    (tmp_path / "out" / "none_1.nii.gz").unlink()
    (tmp_path / "out" / "cases.csv").unlink()
    capsys.readouterr()
    assert main(words(model, images, tmp_path / "out", "--jobs", "2", "--continue_prediction")) == 0
    assert "1 predicted, 1 complete before, 0 failed" in capsys.readouterr().out
    assert cases(tmp_path / "out") == ["ball_0", "none_1"]
    assert (tmp_path / "out" / "ball_0.nii.gz").stat().st_mtime_ns == before


def test_a_preempted_part_goes_on_with_what_is_missing(model: Model, images: Path, tmp_path: Path) -> None:
    part = Part(images, ModelOptions(model.folder), OutputOptions(tmp_path / "out"), WorkOptions(part=1, parts=3))
    again = part.checkpoint().function
    assert again.work == WorkOptions(part=1, parts=3, continued=True)
    assert (again.source, again.output) == (part.source, part.output)


def test_jobs_that_cannot_be_are_refused(
    model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    options = ModelOptions(model.folder, (0,)), OutputOptions(tmp_path / "out"), WorkOptions()
    with pytest.raises(DataError, match="no sbatch"):
        predict_cohort(images, *options, JobOptions(2, "slurm"))
    assert main(words(model, images, tmp_path / "out", "--jobs", "2", "-num_parts", "2")) == 1
    assert main(words(model, images, tmp_path / "out", "--jobs", "2", "--sbatch", "gpu")) == 1
    assert not (tmp_path / "out").exists()


def test_what_ended_a_job_is_told_in_its_own_words(tmp_path: Path) -> None:
    failed = pytest.importorskip("submitit").core.utils.FailedJobError
    said = """Job (task=0) failed during processing with trace:
----------------------
Traceback (most recent call last):
  File "x.py", line 3, in <module>
    run()
nnunetv2_textguided.errors.DataError: The folder holds cases of another model: a was x, is y.
  where: out
  what to do: Predict into another folder.

----------------------
You can check full logs with 'job.stderr(0)' and 'job.stdout(0)'or at paths:
  - /logs/1_0_log.err
  - /logs/1_0_log.out"""
    assert reason(failed(said)) == (
        "nnunetv2_textguided.errors.DataError: The folder holds cases of another model: a was x, is y.; "
        "where: out; what to do: Predict into another folder."
    )
    assert reason(failed("Job 7 was killed.\n----")) == "Job 7 was killed."
    assert reason(failed("")) == "FailedJobError"
