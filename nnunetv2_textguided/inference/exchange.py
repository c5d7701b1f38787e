"""Asking a trained network another question: its prompts exchanged at prediction."""

from __future__ import annotations

from pathlib import Path

import torch

from nnunetv2_textguided.errors import EmbeddingFileError
from nnunetv2_textguided.inference.predictor import TextGuidedPredictor
from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.nnunet.plans import image_channels
from nnunetv2_textguided.settings import BLOCK, ResolvedText, Settings, TextSettings
from nnunetv2_textguided.text.embeddings import TextEmbeddings, encoder_differences
from nnunetv2_textguided.text.resolve import bank_of, describe_difference, resolve_text


def exchange_prompts(
    predictor: TextGuidedPredictor, prompts: str | None, embeddings: Path | None, encoder: str | None = None
) -> str:
    """Tell the network other words; the predictor must be loaded and not yet explaining.

    Args:
        predictor: changed in place, for all its folds.
        prompts: name or path of a prompt bank.
        embeddings: an embedding file, from the encoder that the model was trained with.
        encoder: name of the encoder for `prompts`; None: the one that the model was trained with.

    Returns:
        A warning that says what was exchanged.

    Raises:
        EmbeddingFileError: the embeddings are of another encoder than the model's, or lack a label.
        EncoderError: the prompts need a text encoder that cannot be had.
    """
    trained, settings = predictor.text, predictor.settings
    assert settings is not None  # `text` has raised otherwise
    if settings.text.control != "none":
        raise EmbeddingFileError(
            f"This model's text is the scientific control {settings.text.control!r}: it was trained without words.",
            where=predictor.trainer_name,
            remedy="Exchange the prompts of a model that was trained with language.",
        )
    wants_tokens = trained.num_tokens > 0
    if embeddings is not None:
        chosen = TextSettings(prompts=prompts, embeddings=str(embeddings))
        found, told = resolve_text(chosen, trained.labels, None, want_tokens=wants_tokens)
    else:
        found, told = _encode(str(prompts), trained, wants_tokens, encoder)
    told = told.model_copy(update={"anatomy": trained.anatomy, "word_dim": trained.word_dim})
    _check_encoder(trained, told)
    _rebuild(predictor, settings, found, told)
    changed = "; ".join(describe_difference(bank_of(trained), bank_of(told))) or "nothing: the same prompts"
    return (
        "WARNING: the prompts were exchanged, and the network was trained with others. Its answer to these is an "
        f"extrapolation, and masks can change with it (trained -> asked): {changed}"
    )


def _encode(
    prompts: str, trained: ResolvedText, tokens: bool, encoder: str | None
) -> tuple[TextEmbeddings, ResolvedText]:
    """Embeddings of a bank: from the package if the model was trained with it and it has them, else encoded now."""
    import tempfile

    from nnunetv2_textguided.text.choose import choose_bank
    from nnunetv2_textguided.text.embeddings import write_embeddings
    from nnunetv2_textguided.text.encode import encode
    from nnunetv2_textguided.text.encoders import encoder_name, load_encoder
    from nnunetv2_textguided.text.packaged import packaged_embeddings, packaged_rows, phrase_key

    bank, _ = choose_bank(prompts, trained.labels)
    known = packaged_rows()
    is_packaged = not encoder_differences(trained.encoder, packaged_embeddings().encoder)
    if is_packaged and not tokens and all(phrase_key(p) in known for p in bank.prompts):
        return resolve_text(TextSettings(prompts=prompts), trained.labels, None, want_tokens=False)
    name = encoder or encoder_name(trained.encoder)
    if name is None:
        raise EmbeddingFileError(
            f"The model was trained with the encoder {trained.encoder.get('id')!r}, which has no name here.",
            where="--prompts",
            remedy="Name it with --encoder local:DIR, or encode the prompts there and pass --embeddings FILE.",
        )
    made = encode(load_encoder(name), prompts, trained.labels, tokens=tokens, command="predict --prompts")
    with tempfile.TemporaryDirectory() as folder:
        # Through the file format, so that these embeddings pass the same checks as any others.
        file = Path(folder) / "exchanged.safetensors"
        write_embeddings(file, made)
        found, told = resolve_text(TextSettings(embeddings=str(file)), trained.labels, None, want_tokens=tokens)
    return found, told.model_copy(update={"source": f"{prompts}, encoded by {name}"})


def _check_encoder(trained: ResolvedText, told: ResolvedText) -> None:
    different = encoder_differences(trained.encoder, told.encoder)
    if different or trained.embedding_dim != told.embedding_dim or trained.token_dim != told.token_dim:
        raise EmbeddingFileError(
            f"The model was trained with embeddings of {trained.encoder.get('id')!r}; these are of "
            f"{told.encoder.get('id')!r} (different: {', '.join(different) or 'sizes'}). Their directions mean "
            "nothing to it.",
            where=told.source,
            remedy="Encode the prompts with the model's own encoder (`nnUNetv2_textguided encode --encoder ...`).",
        )


def _rebuild(predictor: TextGuidedPredictor, settings: Settings, found: TextEmbeddings, told: ResolvedText) -> None:
    """A network with room for other numbers of prompts. No learned weight depends on that number."""
    text = settings.text.model_copy(update={"resolved": told})
    settings = settings.model_copy(update={"text": text})
    configuration, plans = predictor.configuration_manager, predictor.plans_manager
    predictor.network = build_from_architecture(
        configuration.configuration["architecture"],
        settings,
        image_channels(plans, configuration, predictor.dataset_json),
        predictor.layout.heads,
        deep_supervision=False,
    )
    configuration.configuration[BLOCK] = settings.block()
    tokens = torch.zeros(0, told.token_dim) if found.tokens is None else torch.from_numpy(found.tokens)
    replaced = {"text_embeddings": torch.from_numpy(found.pooled), "text_tokens": tokens}
    predictor.list_of_parameters = [{**fold, **replaced} for fold in predictor.list_of_parameters]
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
