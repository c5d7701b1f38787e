"""What a network is told of each case while it trains: phrases of places, the case's sentences, clinical facts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from torch import Tensor

from nnunetv2_textguided.anatomy.sectors import SECTORS
from nnunetv2_textguided.errors import EmbeddingFileError, TrainingError
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.grounding import CaseInput
from nnunetv2_textguided.settings import ResolvedText, Settings
from nnunetv2_textguided.text.case_text import CaseText, describe_kinds
from nnunetv2_textguided.text.clinical_facts import ClinicalFacts
from nnunetv2_textguided.text.dataset import dataset_case_text
from nnunetv2_textguided.text.embeddings import TextEmbeddings, read_embeddings
from nnunetv2_textguided.text.packaged import SOURCE
from nnunetv2_textguided.text.phrases import training_phrases
from nnunetv2_textguided.text.sentence_table import padded
from nnunetv2_textguided.training.step import Told

_ENCODE = "Run `nnUNetv2_textguided encode` for this data set (again, if its text changed)."


@dataclass(frozen=True)
class PhraseTable:
    """The phrases that grounding is learned from.

    Attributes:
        words: of each of P phrases, (L, D) tokens.
        members: (P, K), 1 where sector k + 1 belongs to the phrase's place, else 0.
    """

    words: list[np.ndarray]
    members: Tensor

    @classmethod
    def of(cls, embeddings: TextEmbeddings, where: str, *, tokens: bool) -> PhraseTable:
        """Raises EmbeddingFileError where the file lacks a phrase."""
        phrases = training_phrases()
        table = embeddings.tables.get("phrase")
        if table is None:
            raise EmbeddingFileError("The embedding file has no location phrases.", where=where, remedy=_ENCODE)
        members = [[float(phrase.sector.contains(sector)) for sector in SECTORS] for phrase in phrases]
        words = table.of([phrase.text for phrase in phrases], where, tokens=tokens)
        return cls(words, torch.tensor(members))

    @property
    def mean(self) -> Tensor:
        """(D,) of all tokens of all phrases."""
        return torch.from_numpy(np.concatenate(self.words).mean(axis=0))

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """(P, L, D) and members of `count` phrases at random."""
        rows = torch.randperm(len(self.words))[:count]
        drawn = [self.words[row] for row in rows.tolist()]
        return torch.from_numpy(padded(drawn, drawn[0].shape[1])), self.members[rows]


class TrainingCaseText:
    """Draws what a network is told of the cases of a batch.

    Args:
        settings: complete settings, of which grounding or text.case is on.
        resolved: the text that was found.
        dataset: name of the data set.

    Raises:
        EmbeddingFileError: phrases or sentences have no embedding.
        TrainingError: there is no case text, or not of the kind that the settings ask for.
        DataError: the case text is not valid.
    """

    def __init__(self, settings: Settings, resolved: ResolvedText, dataset: str) -> None:
        self.settings, self.tokens = settings, bool(resolved.word_dim)
        self.width, self.longest = resolved.text_dim, 1
        self.case = settings.text.case
        self.phrases: PhraseTable | None = None
        self.texts: Mapping[str, CaseText] = {}
        self.sentences: dict[str, Tensor] = {}
        self.lesion_free: set[str] = set()
        self.others: list[Tensor] = []
        if self.case.sentences or self.case.clinical:
            self.texts = _read_texts(dataset, self.case.sentences, self.case.clinical)
        if settings.grounding.enabled:
            self._read_embeddings(resolved.source)

    def _read_embeddings(self, source: str) -> None:
        if source == SOURCE:
            raise EmbeddingFileError(
                "Grounding needs location phrases, which the small embedding file in the package does not have.",
                where="text_guidance.grounding.enabled",
                remedy=_ENCODE,
            )
        embeddings = read_embeddings(source)
        self.phrases = PhraseTable.of(embeddings, source, tokens=self.tokens)
        if not self.case.sentences:
            return
        table = embeddings.tables.get("sentence")
        if table is None:
            raise EmbeddingFileError("The embedding file has no sentences of cases.", where=source, remedy=_ENCODE)
        found = {
            case: table.of(text.findings, source, tokens=self.tokens)
            for case, text in self.texts.items()
            if text.findings
        }
        self.sentences = {case: torch.from_numpy(padded(words, self.width)) for case, words in found.items()}
        self.longest = max((words.shape[1] for words in self.sentences.values()), default=1)

    def prepare(self, network: AlignRefineUNet, cases: Sequence[str], preprocessed: str) -> None:
        """Give the network the phrases' mean and the facts' mean and deviation; find the cases without lesion.

        Args:
            network: the bare network.
            cases: the training cases.
            preprocessed: the folder of nnU-Net's preprocessed cases.
        """
        if network.grounding is not None and self.phrases is not None:
            network.grounding.centre.copy_(self.phrases.mean)
        if network.clinical is not None:
            known = [facts_tensor(self.texts[case].clinical) for case in cases if case in self.texts]
            network.clinical.standardise(torch.stack(known or [facts_tensor(ClinicalFacts())]))
        self.others = [self.sentences[case] for case in cases if case in self.sentences]
        if self.case.sentences:
            self.lesion_free = {case for case in cases if _is_lesion_free(Path(preprocessed) / f"{case}.pkl")}

    def draw(self, cases: Sequence[str], device: torch.device) -> Told:
        """What is told in one step of the batch's cases, in their order."""
        phrases, members = None, torch.zeros(0, len(SECTORS))
        if self.phrases is not None:
            phrases, members = (part.to(device) for part in self.phrases.draw(self.settings.grounding.phrases))
        silent = (torch.rand(len(cases)) < self.case.without_text).tolist()
        sentences = facts = None
        if self.case.sentences:
            told = [self._none() if quiet else self._sentences(case) for case, quiet in zip(cases, silent, strict=True)]
            sentences = torch.stack(told).to(device)
        if self.case.clinical:
            known = [ClinicalFacts() if quiet else self._facts(case) for case, quiet in zip(cases, silent, strict=True)]
            facts = torch.stack([facts_tensor(each) for each in known]).to(device)
        return Told(CaseInput(phrases, sentences, facts), members)

    def _none(self) -> Tensor:
        return torch.zeros(self.case.max_sentences, self.longest, self.width)

    def _facts(self, case: str) -> ClinicalFacts:
        return self.texts[case].clinical if case in self.texts else ClinicalFacts()

    def _sentences(self, case: str) -> Tensor:
        """(max_sentences, L, D) of one case; zeros say nothing."""
        own, told = self.sentences.get(case), self._none()
        if own is None and case in self.lesion_free and self.others and bool(torch.rand(()) < self.case.lesion_free):
            other = self.others[int(torch.randint(len(self.others), ()))]
            own = other[torch.randint(len(other), (1,))]
        if own is not None:
            chosen = own[torch.randperm(len(own))[: self.case.max_sentences]]
            told[: len(chosen), : chosen.shape[1]] = chosen
        return told

    def describe(self) -> str:
        """A line for the training log."""
        parts = []
        if self.phrases is not None:
            parts.append(f"{len(self.phrases.words)} phrases of places")
        if self.case.sentences or self.case.clinical:
            parts.append(describe_kinds(self.texts))
        return f"Case text: {'; '.join(parts)}"


def facts_tensor(facts: ClinicalFacts) -> Tensor:
    """(F,) in the order of clinical.FACTS, NaN where not known."""
    density, volume = facts.psa_density, facts.prostate_volume_ml
    values = (
        None if density is None else math.log(density),
        facts.age_years,
        None if volume is None else math.log(volume),
    )
    return torch.tensor([math.nan if value is None else value for value in values])


def load_case_text(settings: Settings, resolved: ResolvedText | None, dataset: str) -> TrainingCaseText | None:
    """What a training with these settings tells its network; None where that is nothing."""
    if resolved is None or not (settings.grounding.enabled or settings.text.case.clinical):
        return None
    return TrainingCaseText(settings, resolved, dataset)


def _read_texts(dataset: str, sentences: bool, clinical: bool) -> dict[str, CaseText]:
    found = dataset_case_text(dataset)
    if found is None:
        raise TrainingError(
            "text.case asks for the text of the cases, and the data set has none.",
            where=f"{dataset}, case_text.json",
            remedy="Put case_text.json beside dataset.json and run encode, or leave text.case off (docs/case_text.md).",
        )
    texts, path = found
    if sentences and not any(text.findings for text in texts.values()):
        raise TrainingError("No case has a sentence.", where=path, remedy="Set text.case.sentences to false.")
    if clinical and not any(text.clinical for text in texts.values()):
        raise TrainingError("No case has clinical facts.", where=path, remedy="Set text.case.clinical to false.")
    return texts


def _is_lesion_free(properties: Path) -> bool:
    """Whether a case has no foreground. With an ignore label, nnU-Net lists all annotated voxels, too, as a tuple."""
    locations: dict[Any, Any] = load_pickle(str(properties))["class_locations"]
    annotated = [len(places) for key, places in locations.items() if isinstance(key, tuple)]
    return not any(len(places) for key, places in locations.items() if not isinstance(key, tuple)) and all(annotated)
