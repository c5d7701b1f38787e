"""Text-guided 3D lesion segmentation inside stock nnU-Net v2 (*Align then Refine*, arXiv 2604.18713)."""

# Nothing is imported here, not even typing: the start-up file imports the package whenever Python starts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nnunetv2_textguided.inference.patient import load

__version__ = "0.2.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> object:
    # `load` stands on torch: imported when it is first asked for.
    if name == "load":
        from nnunetv2_textguided.inference.patient import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
