"""A tiny random model of BiomedCLIP's classes: CustomTextCLIP + HFTextEncoder (BERT) + a Hugging Face tokenizer.

Its config keeps the hub ids that BiomedCLIP's has. About 100 kB; nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path

CONTEXT = 128
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *"abcdefghijklmnopqrstuvwxyz0123456789.,-",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"),
    *("prostate", "lesion", "zone", "normal", "tumour", "of", "the", "rectum", "fat", "mri"),
]
TEXT_ID = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
TEXT_NAME = TEXT_ID.rsplit("/", 1)[-1]


def build(folder: Path, *, text_folder: Path | None = None, pickled: bool = False) -> Path:
    """Write the model: open_clip's part to `folder`, the text model's config and tokenizer to `text_folder`, by default
    a folder of its name in `folder`."""
    import torch
    from open_clip.model import CustomTextCLIP
    from safetensors.torch import save_file
    from transformers import BertConfig

    text_folder = text_folder or folder / TEXT_NAME
    text_folder.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (text_folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (text_folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer", "model_max_length": CONTEXT})
    )
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
    )
    config.save_pretrained(text_folder)
    text_cfg = {
        "hf_model_name": TEXT_ID,
        "hf_tokenizer_name": TEXT_ID,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": CONTEXT,
    }
    vision_cfg = {"image_size": 32, "patch_size": 16, "layers": 1, "width": 16, "head_width": 8}
    model_cfg = {"embed_dim": 16, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    local = {**text_cfg, "hf_model_name": str(text_folder), "hf_model_pretrained": False}
    state = CustomTextCLIP(embed_dim=16, vision_cfg=vision_cfg, text_cfg=local).state_dict()
    if pickled:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "open_clip_model.safetensors")
    return folder
