"""Two examples of every command, and the page of the documentation that says more: shown below `--help`."""

from __future__ import annotations

from collections.abc import Mapping

MODEL = "nnUNet_results/Dataset2203_PICAI/nnUNetTrainerAlignRefine__nnUNetPlans__3d_fullres"

# Command, with its action -> page, and examples without the program's name.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "anatomy": ("text.md", "anatomy -d 2203", "anatomy -d 2203 -c 3d_lowres -np 8"),
    "benchmark run": (
        "benchmark.md",
        "benchmark run -d 2203 --trainers nnUNetTrainer nnUNetTrainerAlignRefine --dry-run",
        "benchmark run -d 2203 --trainers nnUNetTrainer nnUNetTrainerAlignRefine --repeats 3 --gpus 4",
    ),
    "benchmark report": (
        "benchmark_report.md",
        "benchmark report -d 2203",
        "benchmark report -d 2203 --baseline nnUNetTrainer --folds 0 1 --pdf -o report",
    ),
    "benchmark compare": (
        "benchmark_report.md",
        "benchmark compare report/per_case.csv --baseline nnUNetTrainer",
        "benchmark compare a/per_case.csv b/per_case.csv --where fold=0",
    ),
    "completion": ("discovery.md", "completion bash", "completion zsh"),
    "convert-weights": (
        "planning.md",
        "convert-weights checkpoint_final.pth -d 2203 -c 3d_fullres -p nnUNetPlans -o start.pth",
        "convert-weights checkpoint_final.pth -d 2203 -c 3d_fullres -p nnUNetPlans -o start.pth --list",
    ),
    "demo": ("tutorials/demo.md", "demo", "demo --quick --output somewhere --seed 1"),
    "doctor": ("discovery.md", "doctor", "doctor --json"),
    "encode": (
        "text.md",
        "encode -d 2203 --encoder minilm",
        "encode --labels csPCa --encoder local:models/BiomedCLIP -o text_embeddings.safetensors",
    ),
    "env": ("discovery.md", "env", "env --shell powershell"),
    "export-container": (
        "sharing.md",
        "export-container --model model.zip -o container",
        f"export-container --model {MODEL} -o container",
    ),
    "export-model": (
        "sharing.md",
        f"export-model -m {MODEL} -o shared",
        f"export-model -m {MODEL} -o shared -f 0 1 --licence cc-by-nc-4.0 --data-licence 'CC BY-NC 4.0'",
    ),
    "inspect": ("text.md", f"inspect {MODEL}", "inspect model.zip --json"),
    "install-model": (
        "sharing.md",
        "install-model shared",
        "install-model ORGANISATION/NAME@v1 --dataset Dataset2203_PICAI",
    ),
    "likelihood": (
        "patient.md",
        f"likelihood -m {MODEL}",
        f"likelihood -m {MODEL} --case-text case_text.json --label csPCa",
    ),
    "pseudo-label": (
        "reports.md",
        "pseudo-label -d 2203 -i unannotated --case-text case_text.json -o Dataset2204_Reports",
        f"pseudo-label -d 2203 -m {MODEL} -f 0 -i unannotated -o Dataset2204_Reports --words count --zones zones",
    ),
    "sentence-prior": (
        "case_text.md",
        "sentence-prior -d 2203",
        f"sentence-prior -m {MODEL} -f 0 1 2 3 4 --case-text case_text.json -device cpu",
    ),
    "threshold": (
        "prediction.md",
        "threshold -d 2203 -c 3d_fullres",
        f"threshold -m {MODEL} -f 0 1 2 3 4 --label csPCa --price 0.2",
    ),
    "picai benchmark": (
        "reproduce.md",
        "picai benchmark --images archive --labels picai_labels --dry-run",
        "picai benchmark --images archive --labels picai_labels --repeats 2 --executor slurm --sbatch partition=gpu",
    ),
    "picai check": (
        "picai.md",
        "picai check nnUNet_raw/Dataset2203_PICAI",
        "picai check predictions --json found.json",
    ),
    "picai evaluate": (
        "picai.md",
        "picai evaluate --predictions predictions --labels nnUNet_raw/Dataset2203_PICAI/labelsTr",
        "picai evaluate --predictions predictions --labels labels --extraction 0.5 --bootstrap 1000 -o scores",
    ),
    "picai prepare": (
        "picai.md",
        "picai prepare --images archive --labels picai_labels -d 2203 --dry-run",
        "picai prepare --images archive --labels picai_labels -d 2203 --classes anatomy --jobs 8",
    ),
    "plan": ("planning.md", "plan -d 2203", "plan -d 2203 --residual M --gpu-memory 24"),
    "predict": (
        "prediction.md",
        "predict -i new_patients -o predictions -d 2203 -f 0 --heatmaps --viewer",
        f"predict -i new_patients -o predictions -m {MODEL} -device cpu",
    ),
    "predict-case": (
        "patient.md",
        f"predict-case -m {MODEL} -o result --t2w t2.mha --adc adc.mha --hbv hbv.mha",
        f"predict-case -m {MODEL} -o result --study dicom_folder --dicom --psa 7.2",
    ),
    "prompts compare": ("text.md", "prompts compare default paper", f"prompts compare default {MODEL}"),
    "prompts show": ("text.md", "prompts show default", f"prompts show {MODEL} --picture cosines.png"),
    "prompts validate": ("text.md", "prompts validate my_bank.json", "prompts validate my_bank.json --encoder minilm"),
}


def epilog(command: str, program: str) -> str | None:
    """The text below the options of a command; None where the command only chooses between actions."""
    if command not in EXAMPLES:
        return None
    page, *examples = EXAMPLES[command]
    lines = "\n".join(f"  {program} {example}" for example in examples)
    return f"examples:\n{lines}\n\nmore: docs/{page}"
