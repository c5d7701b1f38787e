"""`nnUNetv2_textguided predict-case`: one patient, from image files or DICOM, to masks, report and DICOM objects."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_textguided.commands.numbers import number
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.files import check_writable, read_json
from nnunetv2_textguided.inference.options import MISSING

if TYPE_CHECKING:
    from nnunetv2_textguided.inference.patient import LoadedModel, Result
    from nnunetv2_textguided.text.case_text import CaseText

USUAL = ("T2W", "ADC", "HBV")
"""Channels whose options `--help` shows where no model is named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments, but for those of the model's channels."""
    parser.add_argument("-m", "--model", type=Path, required=True, help="trained model folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--study", type=Path, help="folder of mixed DICOM series, instead of one option per channel")
    parser.add_argument("--series", nargs="+", default=[], metavar="CHANNEL=SERIES",
                        help="with --study: number or UID of a channel's series, such as T2W=4")  # fmt: skip
    parser.add_argument("--name", help="what the result files are called (default: case, or the study folder's name)")
    parser.add_argument("--dicom", action="store_true", help="also write a DICOM segmentation and a structured report")
    known = parser.add_argument_group("what is known of the patient (docs/case_text.md)")
    known.add_argument("--finding", action="append", default=[], help="a sentence, such as 'PI-RADS 4 lesion'")
    known.add_argument("--sentences", type=Path, help="embedding file that holds the sentences, where no encoder is")
    known.add_argument("--encoder", help="text encoder for the sentences (default: the model's own)")
    known.add_argument("--psa", type=number("--psa", float, above=0), help="ng/mL")
    known.add_argument("--age", type=number("--age", float, above=0), help="years")
    known.add_argument("--volume", type=number("--volume", float, above=0), help="of the prostate, mL")
    parser.add_argument("--missing", choices=MISSING, default="error",
                        help="allow: predict without a channel, if the model was trained for it")  # fmt: skip
    parser.add_argument("--candidates", default="dynamic", help="as in predict (default: dynamic)")
    parser.add_argument("--threshold", metavar="P", help="as in predict: fitted, or a number (default: as nnU-Net)")
    parser.add_argument("--heatmaps", action="store_true", help="also write the text's heatmaps")
    parser.add_argument("--disable_tta", action="store_true", help="no test-time mirroring")
    parser.add_argument("-step_size", type=number("-step_size", float, above=0, most=1), default=0.5,
                        help="step of the sliding window (default: 0.5)")  # fmt: skip
    parser.add_argument("-device", "--device", choices=("cuda", "cpu", "mps"), default="cuda", help="default: cuda")


def add_model_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add an option for each channel of the model that the command line names: a CT model has --ct."""
    from nnunetv2_textguided.inference.channels import option_name

    group = parser.add_argument_group("channels (an image file, or a folder of one DICOM series)")
    for channel in _channels(words):
        flag = "--" + option_name(channel).replace("_", "-")
        group.add_argument(flag, dest=f"channel_{option_name(channel)}", type=Path, metavar="FILE", help=channel)


def _channels(words: Sequence[str]) -> Sequence[str]:
    flags = ("-m", "--model")
    model = next((Path(after) for flag, after in pairwise(words) if flag in flags), None)
    found = [] if model is None else [*model.glob("dataset.json"), *model.glob("*/dataset.json")]
    if not found:
        return USUAL
    try:
        content = read_json(found[0], error=DataError)
    except DataError:
        return USUAL  # `load` says what is wrong with the model
    names = content.get("channel_contents") or content.get("channel_names") or {}
    return [str(names[key]).split(" (")[0] for key in sorted(names, key=int)]


def run(args: argparse.Namespace) -> int:
    """Predict; returns the exit status."""
    given = {key.removeprefix("channel_"): path for key, path in vars(args).items()
             if key.startswith("channel_") and path is not None}  # fmt: skip
    if (args.study is None) == (not given):
        raise DataError(
            "Give the patient's channels, or the folder of a study, and not both.",
            where="--study",
            remedy="--t2w FILE --adc FILE --hbv FILE, or --study FOLDER.",
        )
    if args.output.is_dir() and any(args.output.iterdir()):
        raise DataError("The folder is not empty.", where=args.output, remedy="Choose a new folder: one per patient.")
    check_writable(args.output)
    text = _text(args)
    named = dict(_named_series(word) for word in args.series)
    from nnunetv2_textguided.inference.channels import from_study, gather
    from nnunetv2_textguided.inference.patient_report import write_report

    name = args.name or (args.study.resolve().name if args.study else "case")
    loaded = _load(args)
    rule = loaded.rule(args.missing)
    patient = (
        from_study(args.study, loaded.channels, named, rule) if args.study else gather(given, loaded.channels, rule)
    )
    for decision in patient.decisions:
        print(decision)
    first = next(channel for index, channel in enumerate(loaded.channels) if index not in patient.missing)
    if args.dicom and not patient.datasets:
        raise DataError(
            f"--dicom needs the {first} as DICOM: its series is what segmentation and report refer to.",
            where="--dicom",
            remedy="Give the DICOM series, or leave --dicom out.",
        )
    result = loaded.predict_patient(patient, args.output, name, text)
    write_report(args.output / "report.html", result, name, loaded)
    if args.dicom:
        _write_dicom(args, result, loaded, patient.datasets)
    _say(result, args.output)
    return 0


def _text(args: argparse.Namespace) -> CaseText:
    from nnunetv2_textguided.text.case_text import text_of

    return text_of(args.finding, args.psa, args.age, args.volume, "--finding, --psa, --age, --volume")


def _named_series(word: str) -> tuple[str, str]:
    channel, separator, series = word.partition("=")
    if not separator or not channel or not series:
        raise DataError(f"{word!r} is not CHANNEL=SERIES.", where="--series", remedy="Write T2W=4.")
    return channel, series


def _load(args: argparse.Namespace) -> LoadedModel:
    from dataclasses import replace

    from nnunetv2_textguided.inference.grand_challenge import find_model
    from nnunetv2_textguided.inference.options import OutputOptions
    from nnunetv2_textguided.inference.patient import LoadedModel

    model = replace(
        find_model(args.model),
        device=args.device,
        step_size=args.step_size,
        mirroring=not args.disable_tta,
        sentences=args.sentences,
        encoder=args.encoder,
    )
    has_lesions = args.candidates != "none"
    output = OutputOptions(
        args.output,
        heatmaps=args.heatmaps,
        candidates=args.candidates,
        threshold=args.threshold,
        overlays=has_lesions,
        viewer=has_lesions,
        lesion_maps=has_lesions,
    )
    return LoadedModel(model, output)


def _write_dicom(args: argparse.Namespace, result: Result, loaded: LoadedModel, datasets: Sequence) -> None:
    from nnunetv2_textguided.inference.dicom.write import Found, write_objects

    if result.lesion_numbers is None or result.likelihood is None:
        raise TextGuidedError("Without candidates there is nothing to write.", where="--candidates none, --dicom")
    model = loaded.session.model.folder
    label = str(loaded.session.exporter.label)
    found = Found(
        result.lesion_numbers,
        result.lesions,
        result.likelihood,
        label,
        f"{model.parent.name} {model.name}",
        "; ".join(result.text.findings) or None,
    )
    for path in write_objects(args.output, found, datasets):
        print(path)
    if not result.lesions:
        print("no lesion was found: a DICOM segmentation without segments does not exist; the report says so")


def _say(result: Result, folder: Path) -> None:
    for lesion in result.lesions:
        print(
            f"lesion {lesion['candidate']}: {lesion['volume_ml']:.2f} mL, {lesion['diameter_mm']:.0f} mm, "
            f"confidence {lesion['confidence']:.2f}"
        )
    if result.likelihood is not None:
        print(f"likelihood by the image {result.likelihood:.3f} (not calibrated; research use only)")
    if result.combined is not None:
        print(f"likelihood by {' + '.join(result.combined_from)} {result.combined:.3f} (research use only)")
    if result.text_effect is not None and "without" in result.text_effect:
        without = result.text_effect["without"]
        print(f"without text: {without['volume_ml']:.2f} mL, likelihood {without['case_likelihood']:.3f}")
        for one in result.text_effect["sentences"]:
            print(f"{one['sentence']!r}: {one['volume_change_ml']:+.2f} mL, likelihood {one['likelihood_change']:+.3f}")
    for remark in result.remarks:
        print(f"note: {remark}", file=sys.stderr)
    print(folder)
