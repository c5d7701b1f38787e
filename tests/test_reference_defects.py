"""What was found broken in the paper's released code, and the tests that would notice it here.

One entry per defect (README, "How it differs from the paper's released code"). The tests stand beside what they test;
this file fails where one of them is renamed or removed, and adds what concerns the source as a whole.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

DEFECTS = {
    "the refiner pools the text to one key, so its change is the same for all voxels": [
        "network/test_refiner.py::test_the_change_differs_between_voxels_and_with_the_tokens_where_it_attends",
        "network/test_refiner.py::test_it_learns_to_move_a_surface_that_is_wrong_in_a_way_the_image_shows",
        "training/test_trainer.py::test_the_refiner_learns_in_the_refine_phase_and_not_before",
    ],
    "text reaches neither prediction nor validation, alpha and tau are in no checkpoint": [
        "network/test_unet.py::test_prediction_uses_the_text",
        "network/test_unet.py::test_state_round_trip_carries_text_and_alpha",
        "training/test_trainer.py::test_the_complete_block_is_in_the_plans_that_are_saved",
        "training/test_end_to_end.py::test_train_kill_continue_validate_predict_export_import",
    ],
    "an encoder that is missing is dropped in silence, and a vector learned instead that is lost on resume": [
        "text/test_commands.py::test_unreachable_hub_fails_within_seconds_with_the_remedies",
        "text/test_encoders.py::test_unknown_encoder_names_those_there_are",
        "training/test_trainer.py::test_the_network_hears_the_embeddings",
        "training/test_trainer.py::test_a_checkpoint_remembers_everything_and_continues",
    ],
    "the heatmap is the sigmoid of a cosine, confined to [.27, .73]": [
        "network/test_alignment_head.py::test_heatmap_of_a_rare_lesion_becomes_sharp_where_a_plain_cosine_cannot",
        "losses/test_guidance.py::test_a_perfect_heatmap_has_no_loss",
    ],
    "text meets the image at the bottleneck, where a voxel is larger than a lesion": [
        "network/test_unet.py::test_text_meets_the_image_at_an_in_plane_stride_of_at_most_four",
        "network/test_unet.py::test_a_perfect_map_outlines_a_lesion_at_the_chosen_stage_and_not_at_the_bottleneck",
    ],
    "unbalanced cross-entropy of the heatmap learns nothing": [
        "losses/test_guidance.py::test_heatmap_cross_entropy_of_an_undecided_map_is_log_two_at_any_prevalence",
        "network/test_alignment_head.py::test_heatmap_of_a_rare_lesion_becomes_sharp_where_a_plain_cosine_cannot",
    ],
    "mixed precision casts master weights in place": [
        "network/test_unet.py::test_half_precision_casts_no_weight_in_place",
        "network/test_alignment_head.py::test_half_precision_autocast_changes_nothing_but_the_features",
    ],
    "the refiner's learning rate is never applied": [
        "training/test_optimiser.py::test_every_parameter_is_in_exactly_one_group",
        "training/test_optimiser.py::test_rates_decay_apart_and_the_refiner_s_from_its_own_phase",
    ],
    "the second stage starts again with new heads": [
        "training/test_end_to_end.py::test_train_kill_continue_validate_predict_export_import",
        "settings/test_schedule.py::test_the_default_schedule_has_all_phases_from_three_epochs_on",
    ],
    "the gate takes the sigmoid of one logit of a softmax": [
        "network/test_attention_refiner.py::test_the_gate_uses_sigmoids_for_regions_and_softmax_for_classes",
        "network/test_attention_refiner.py::test_the_gate_takes_the_most_confident_voxels_above_the_threshold",
    ],
    "plans are ignored, and the refiner's cost follows the volume": [
        "network/test_encoders.py::test_every_encoder_has_the_kernels_and_depths_of_the_plans",
        "network/test_encoders.py::test_one_channel_without_text_reproduces_the_stock_network",
        "network/test_refiner.py::test_cost_follows_the_gated_fraction_and_not_the_volume",
    ],
    "parameters without gradient break distributed training": [
        "training/test_distributed.py::test_ranks_stay_bit_equal_through_all_phases",
        "training/test_trainer.py::test_a_step_in_each_phase_reaches_every_parameter",
        "losses/test_guidance.py::test_zero_weights_still_reach_every_parameter",
    ],
    "ignore label, regions and several classes fail": [
        "training/test_trainer.py::test_odd_data_sets_train_in_the_last_phase",
        "losses/test_segmentation.py::test_ignored_voxels_do_not_matter",
        "network/test_unet.py::test_several_classes_and_regions",
    ],
    "a sample without foreground counts in the alignment loss, and large lesions dominate": [
        "losses/test_guidance.py::test_alignment_without_foreground_is_zero_with_zero_gradient",
        "losses/test_guidance.py::test_samples_without_foreground_do_not_dilute_alignment",
        "losses/test_guidance.py::test_a_large_lesion_does_not_outweigh_a_small_one",
    ],
    "a patch without foreground teaches nothing through the Tversky loss": [
        "losses/test_segmentation.py::test_topk_teaches_negatives_where_tversky_does_not",
        "losses/test_guidance.py::test_heatmap_on_background_suppresses_activations_with_finite_gradients",
    ],
    "settings come from environment variables, errors vanish, installing fails": [
        "test_reference_defects.py::test_the_method_reads_no_environment_variable",
        "test_reference_defects.py::test_nothing_catches_every_error_but_what_reports_it",
        "packaging/test_installation.py::test_stock_lookup_finds_every_trainer_and_stock_trainers_stay_stock",
    ],
}


@cache
def names_in(path: Path) -> set[str]:
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_has_its_tests(defect: str, repository: Path) -> None:
    for name in DEFECTS[defect]:
        file, test = name.split("::")
        assert test in names_in(repository / "tests" / file), name


def sources(repository: Path, *folders: str) -> dict[str, ast.Module]:
    package = repository / "nnunetv2_textguided"
    files = [path for folder in folders for path in sorted((package / folder).glob("**/*.py"))]
    return {str(path.relative_to(package)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def test_the_method_reads_no_environment_variable(repository: Path) -> None:
    found = sources(repository, "network", "losses", "training", "settings")
    found |= {name: tree for name, tree in sources(repository, "").items() if name == "schedule.py"}
    assert len(found) > 20
    for name, tree in found.items():
        words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not words & {"environ", "getenv"}, name


def test_nothing_catches_every_error_but_what_reports_it(repository: Path) -> None:
    """The doctor shows whatever a broken installation raises, pools of processes pass it on, a benchmark reports what
    a trainer of somebody else raised, and a prediction reports one case's failure and goes on with the others."""
    allowed = {
        "commands/doctor/discovery.py",
        "commands/doctor/environment.py",
        "inference/run.py",
        "processes/pool.py",
    }
    allowed |= {"benchmark/describe.py"}
    caught = set()
    for name, tree in sources(repository, "").items():
        handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
        if any(h.type is None or ast.unparse(h.type) in ("Exception", "BaseException") for h in handlers):
            caught.add(name)
    assert caught <= allowed
