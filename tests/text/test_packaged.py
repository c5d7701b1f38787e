from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from nnunetv2_textguided.text.bank import bank_names, load_bank
from nnunetv2_textguided.text.embeddings import read_embeddings
from nnunetv2_textguided.text.encoder_transformers import TransformersEncoder
from nnunetv2_textguided.text.packaged import PACKAGED, hashed_code, make, packaged_embeddings, packaged_phrases


def test_packaged_file_is_small_complete_and_says_what_it_is() -> None:
    embeddings = packaged_embeddings()
    assert PACKAGED.stat().st_size < 100_000
    assert embeddings.bank.prompts == packaged_phrases(), "run `python -m nnunetv2_textguided.text.packaged`"
    assert {p for name in bank_names() for p in load_bank(name).prompts} <= set(embeddings.bank.prompts)
    assert embeddings.encoder["licence"] == "Apache-2.0"
    assert "General-domain" in embeddings.provenance["note"]
    assert embeddings.provenance["command"] == "python -m nnunetv2_textguided.text.packaged"


def test_packaged_file_is_reproduced_by_the_script_in_the_package(
    tmp_path: Path, minilm_encoder: TransformersEncoder
) -> None:
    make(tmp_path / "again.safetensors")
    again, shipped = read_embeddings(tmp_path / "again.safetensors"), packaged_embeddings()
    assert again.bank == shipped.bank
    assert again.encoder == shipped.encoder
    np.testing.assert_allclose(again.pooled, shipped.pooled, atol=1e-3)


def test_reading_needs_neither_torch_nor_an_encoder() -> None:
    code = (
        "import sys; from nnunetv2_textguided.settings import TextSettings;"
        "from nnunetv2_textguided.text.resolve import resolve_text;"
        "resolve_text(TextSettings(), ['csPCa'], None, want_tokens=False);"
        "print(sorted({'torch', 'transformers', 'open_clip'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hashed_codes_are_unit_deterministic_and_distinct() -> None:
    names = [f"organ {i}" for i in range(50)]
    codes = np.stack([hashed_code(name, 384) for name in names])
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(codes[3], hashed_code("Organ_3", 384))
    assert len(np.unique(codes, axis=0)) == 50
