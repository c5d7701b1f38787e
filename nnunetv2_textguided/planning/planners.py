"""nnU-Net's planners, with the memory of all encoders, of the alignment head and of the refiner counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
    nnUNetPlannerResEncXL,
)
from nnunetv2.utilities.json_export import recursive_fix_for_json_export

from nnunetv2_textguided.errors import PlanningError
from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, required_path
from nnunetv2_textguided.nnunet.plans import read_plans
from nnunetv2_textguided.planning.blocks import PlannedBlock, PlanRequest, configuration_block
from nnunetv2_textguided.planning.encoders import COST_LIMIT, Encoders, affordable_choices, described, report_progress
from nnunetv2_textguided.planning.estimate import Estimator, Reference, dataset_labels
from nnunetv2_textguided.planning.fit import Decision, Fit
from nnunetv2_textguided.planning.share import share_data
from nnunetv2_textguided.planning.topology import (
    MIN_BATCH_SIZE,
    shrink_patch,
    text_guided_plan,
    with_topology,
)
from nnunetv2_textguided.settings import BLOCK, Settings
from nnunetv2_textguided.settings.presets import merge, resolve

CASCADE = "3d_cascade_fullres"
CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")


class TextGuidedPlanning:
    """What turns one of nnU-Net's planners into one for text-guided networks: a mixin before the planner's class.

    The patch is shrunk as nnU-Net does it, but by the text-guided network's memory.

    Args:
        dataset_name_or_id: as for nnU-Net.
        request: what the user asks for beyond nnU-Net's options.
        options: nnU-Net's own options, by keyword.

    Raises:
        SettingsError: the preset, or a block in the plans that are replaced, is not valid.
        PlanningError: nothing fits the memory target.
    """

    default_plans_name: ClassVar[str]

    def __init__(self, dataset_name_or_id: str | int, *, request: PlanRequest | None = None, **options: Any) -> None:
        options.setdefault("plans_name", self.default_plans_name)
        base: Any = super()
        base.__init__(dataset_name_or_id, **options)
        stock: Any = self  # what nnU-Net's planner, which has no types, brings
        self._stock = stock
        self.request = request or PlanRequest()
        self.folder = required_path(PREPROCESSED) / self._stock.dataset_name
        self.plans_file = self.folder / f"{self._stock.plans_identifier}.json"
        self.former = read_plans(self.plans_file)["configurations"] if self.plans_file.exists() else {}
        topology = self.request.topology_of
        self.topology = {} if topology is None else read_plans(self.folder / f"{topology}.json")
        dataset_json = self._stock.dataset_json
        channels = dataset_json.get("channel_names") or dataset_json["modality"]
        self.estimator = Estimator(len(channels), dataset_labels(dataset_json))
        self.decisions: dict[str, Decision] = {}
        self._blocks: dict[str, PlannedBlock] = {}
        self._settings: Settings | None = None

    # ------------------------------------------------------------------ memory

    def reference(self, dimensions: int) -> Reference:
        """nnU-Net's calibration of the memory target, for 2 or 3 dimensions."""
        elements, batch = (
            (self._stock.UNet_reference_val_2d, self._stock.UNet_reference_val_corresp_bs_2d)
            if dimensions == 2
            else (self._stock.UNet_reference_val_3d, self._stock.UNet_reference_val_corresp_bs_3d)
        )
        target = self._stock.UNet_vram_target_GB
        return Reference(elements * target / self._stock.UNet_reference_val_corresp_GB, batch, target)

    def static_estimate_VRAM_usage(
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict[str, Any],
        arch_kwargs_req_import: Sequence[str],
    ) -> float:
        """nnU-Net's hook. It shrinks the patch until the value is below its reference, and derives the batch from it.

        For the stock network this is the number of feature map elements that nnU-Net itself counts; for ours, the
        number of a stock network of equal memory.
        """
        architecture = {
            "network_class_name": arch_class_name,
            "arch_kwargs": arch_kwargs,
            "_kw_requires_import": list(arch_kwargs_req_import),
        }
        reference = self.reference(len(patch_size))
        cost = self.estimator.cost(architecture, self._settings, patch_size, MIN_BATCH_SIZE)
        free = self.estimator.budget(architecture, patch_size, reference) - cost.fixed
        if free < MIN_BATCH_SIZE * cost.activations_per_patch and max(patch_size) < 32:
            raise PlanningError(
                f"The network does not fit {reference.gigabytes:g} GB at any patch size.",
                where=f"{len(patch_size)}d configuration",
                remedy="Raise --gpu-memory, use --constant-cost, or choose a smaller --residual.",
            )
        if free <= 0:
            return float("inf")
        return reference.elements * reference.batch_size * cost.activations_per_patch / free

    def measure(self, plan: dict[str, Any], settings: Settings | None) -> Fit:
        """What the training step of a plan costs."""
        architecture, patch, batch = plan["architecture"], plan["patch_size"], plan["batch_size"]
        cost, stock = (self.estimator.cost(architecture, choice, patch, batch) for choice in (settings, None))
        return Fit(plan, settings, cost, stock, self.estimator.budget(architecture, patch, self.reference(len(patch))))

    # ------------------------------------------------------------------ one configuration

    def get_plans_for_configuration(
        self,
        spacing: Any,
        median_shape: Any,
        data_identifier: str,
        approximate_n_voxels_dataset: float,
        _cache: dict[str, Any],
    ) -> dict[str, Any]:
        """nnU-Net's plan for one configuration, with our network and its block in it."""
        name = next(n for n in CONFIGURATIONS if data_identifier == self._stock.generate_data_identifier(n))
        arguments = (spacing, median_shape, data_identifier, approximate_n_voxels_dataset)
        if name not in self._blocks:
            self._blocks[name] = configuration_block(self.request, self.former.get(name, {}).get(BLOCK), name)
        stock = self._fit(None, *arguments)
        if name in self.topology.get("configurations", ()):
            stock = self.measure(with_topology(stock.plan, self.topology, name), None)
            ours, block = self._choose(name, stock, lambda settings: self._shrink(name, settings, stock))
        else:
            ours, block = self._choose(name, stock, lambda settings: self._fit(settings, *arguments))
        self.decisions[name] = Decision(ours, stock, self.measure(stock.plan, ours.settings))
        return text_guided_plan(ours.plan, block)

    def _choose(self, name: str, stock: Fit, fit: Callable[[Settings], Fit]) -> tuple[Fit, dict[str, Any]]:
        """The plan of the first encoders that are cheap enough, and its block."""
        block = self._blocks[name].block
        style = self.request.constant_cost
        if style is None:
            return fit(resolve(block)), block

        def at_stock_s_patch(encoders: Encoders) -> bool:
            # Counting takes a moment, planning longer: look first which choices could do.
            settings = resolve(merge(block, {"encoders": encoders}))
            cost = self.measure(stock.plan, settings).relative_flops
            report_progress(f"{name}: {described(encoders)} cost {cost:.2f} times the stock network's step")
            return cost <= COST_LIMIT

        stages = stock.plan["architecture"]["arch_kwargs"]["n_stages"]
        for encoders in affordable_choices(style, stages, at_stock_s_patch):
            candidate = merge(block, {"encoders": encoders})
            report_progress(f"{name}: planning with {described(encoders)}")
            chosen = fit(resolve(candidate))
            if chosen.relative_flops <= COST_LIMIT:
                return chosen, candidate
        raise PlanningError(
            f"No width of the encoders brings a step below {COST_LIMIT} times the stock network's.",
            where=name,
            remedy="Set encoders.arrangement to 'single', or plan without --constant-cost.",
        )

    def _fit(self, settings: Settings | None, *arguments: Any) -> Fit:
        """nnU-Net's plan for the stock network (settings None) or for ours."""
        self._settings = settings
        base: Any = super()
        # An empty cache: nnU-Net's key knows patch and strides, not the settings. The estimator has its own.
        plan: dict[str, Any] = base.get_plans_for_configuration(*arguments, {})
        fit = self.measure(plan, settings)
        # nnU-Net rounds the batch size to the nearest number, by which it may exceed the target.
        return fit if settings is None else self.measure({**plan, "batch_size": fit.fitting_batch}, settings)

    def _shrink(self, name: str, settings: Settings, stock: Fit) -> Fit:
        """The stock plan's topology with a patch that fits."""

        def fits(patch: Sequence[int]) -> bool:
            return self.measure({**stock.plan, "patch_size": patch, "batch_size": MIN_BATCH_SIZE}, settings).fits

        strides, median = (
            stock.plan["architecture"]["arch_kwargs"]["strides"],
            stock.plan["median_image_size_in_voxels"],
        )
        patch = shrink_patch(stock.plan["patch_size"], strides, median, fits, name)
        fit = self.measure({**stock.plan, "patch_size": patch}, settings)
        return self.measure({**fit.plan, "batch_size": fit.fitting_batch}, settings)

    # ------------------------------------------------------------------ all configurations

    def notes(self, name: str) -> tuple[str, ...]:
        """What became of a configuration's settings in the plans that are replaced."""
        return self._blocks[name].notes

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Write the plans, whole or not at all; configurations under names of the user's own survive."""
        recursive_fix_for_json_export(plans)
        planned = plans["configurations"]
        # Second stages of cascades are not supported: their extra input channels are label maps, not images.
        planned.pop(CASCADE, None)
        planned.get("3d_lowres", {}).pop("next_stage", None)
        self.decisions = {name: self.decisions[name] for name in CONFIGURATIONS if name in planned}
        share_data(plans, self.folder / "nnUNetPlans.json")
        former = {name: value for name, value in self.former.items() if name not in (*CONFIGURATIONS, CASCADE)}
        planned.update(former)
        write_json(self.plans_file, plans)


class AlignRefinePlanner(TextGuidedPlanning, ExperimentPlanner):
    """Plans for text-guided networks on nnU-Net's plain convolutional U-Net."""

    default_plans_name = "nnUNetAlignRefinePlans"


class AlignRefineResEncMPlanner(TextGuidedPlanning, nnUNetPlannerResEncM):
    """Plans on the residual-encoder U-Net, for 8 GB unless said otherwise."""

    default_plans_name = "nnUNetAlignRefineResEncMPlans"


class AlignRefineResEncLPlanner(TextGuidedPlanning, nnUNetPlannerResEncL):
    """Plans on the residual-encoder U-Net, for 24 GB unless said otherwise."""

    default_plans_name = "nnUNetAlignRefineResEncLPlans"


class AlignRefineResEncXLPlanner(TextGuidedPlanning, nnUNetPlannerResEncXL):
    """Plans on the residual-encoder U-Net, for 40 GB unless said otherwise."""

    default_plans_name = "nnUNetAlignRefineResEncXLPlans"
