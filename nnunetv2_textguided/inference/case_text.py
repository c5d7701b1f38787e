"""What is known of a case, as its network reads it: sentences embedded by the model's own encoder, and facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from nnunetv2_textguided.errors import DataError, EmbeddingFileError, EncoderError
from nnunetv2_textguided.evaluation.case_likelihood import LikelihoodModel
from nnunetv2_textguided.inference.cohort import Cohort
from nnunetv2_textguided.inference.explaining import Told
from nnunetv2_textguided.inference.likelihood import reads
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.settings import ResolvedText, Settings
from nnunetv2_textguided.text.case_text import CaseText, read_case_text
from nnunetv2_textguided.text.clinical_facts import ClinicalFacts
from nnunetv2_textguided.text.embeddings import TextEmbeddings, encoder_differences, read_embeddings
from nnunetv2_textguided.text.encode import embed_findings
from nnunetv2_textguided.text.encoder import TextEncoder
from nnunetv2_textguided.text.encoders import encoder_name, load_encoder
from nnunetv2_textguided.text.sentence_table import SentenceTable, padded
from nnunetv2_textguided.training.case_text import facts_tensor


@dataclass
class CaseTextReader:
    """Reads what is known of cases for one model. Sentences are embedded once.

    Attributes:
        settings: the model's; None: it is another trainer's and reads no text.
        model: where else sentences may have been embedded, and by which encoder they are otherwise.
        regressions: of the likelihood, which read facts and PI-RADS, whatever the network reads.
    """

    settings: Settings | None
    model: ModelOptions
    regressions: tuple[LikelihoodModel, ...] = ()
    _known: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def reads_sentences(self) -> bool:
        """Whether the network reads sentences, be it only to say where they are."""
        return self.settings is not None and self.settings.uses_text and self.settings.grounding.enabled

    @property
    def reads_facts(self) -> bool:
        """Whether the network reads clinical facts."""
        return self.settings is not None and self.settings.uses_text and self.settings.text.case.clinical

    def accept(self, text: CaseText) -> tuple[CaseText, list[str]]:
        """The part of a text that the network reads, and remarks about the rest."""
        remarks = []
        if text.findings and not self.reads_sentences:
            remarks.append("this model's network reads no sentences")
            text = replace(text, findings=())
        if text.clinical and not self.reads_facts:
            remarks.append("this model's network reads no clinical facts")
            text = replace(text, clinical=ClinicalFacts())
        if text.clinical and facts_tensor(text.clinical).isnan().all():
            remarks.append(
                "this model's network reads PSA density: PSA without the prostate's volume says nothing to it"
            )
            text = replace(text, clinical=ClinicalFacts())
        return text, remarks

    def read(self, cohort: Cohort) -> Cohort:
        """The cohort with the text of the file `model.case_text`, and the part of it that the network reads.

        Raises:
            DataError: the file is not valid or names another case, or neither the network nor a regression of the
                likelihood reads anything of what it holds.
        """
        path = self.model.case_text
        if path is None:
            return cohort
        texts = read_case_text(path, cohort.names)
        accepted = {name: self.accept(text) for name, text in texts.items()}
        remarks = dict.fromkeys(remark for _, remarks in accepted.values() for remark in remarks)
        if not any(accepted[name][0] or reads(self.regressions, text) for name, text in texts.items()):
            raise DataError(
                f"Nothing of this reaches the network: {'; '.join(remarks) or 'no case has text'}.",
                where=f"--case-text {path}",
                remedy="Predict without --case-text, use a model that was trained with grounding and text.case, or fit "
                "the model's likelihood on facts and PI-RADS (nnUNetv2_textguided likelihood).",
            )
        for remark in remarks:
            print(f"note: {remark}")
        cases = [
            replace(case, text=accepted[case.name][0], known=texts[case.name]) if case.name in texts else case
            for case in cohort.cases
        ]
        return Cohort(cases, cohort.failed)

    def embed(self, texts: Mapping[str, CaseText]) -> None:
        """Embed all sentences of cases, before anything is predicted.

        Raises:
            EmbeddingFileError: the file `model.sentences` is damaged or of another encoder.
            EncoderError: the model's encoder cannot be had, and a sentence was not embedded before.
            DataError: the encoder cannot read a sentence.
        """
        if self._missing(texts):
            self._read_files()
        if not (missing := self._missing(texts)):
            return
        encoder = self._encoder(missing)
        where = self.model.case_text or Path("--finding")
        table = embed_findings(encoder, {case: CaseText(tuple(found)) for case, found in missing.items()}, where)
        assert table is not None  # there are sentences
        self._learn(table)

    def told(self, text: CaseText) -> Told | None:
        """What the network is told of a case whose sentences are embedded; None: nothing."""
        if not text:
            return None
        words = [self._known[sentence] for sentence in text.findings]
        facts = facts_tensor(text.clinical) if text.clinical else None
        return Told(torch.from_numpy(padded(words, self._resolved.text_dim)), facts)

    @property
    def _resolved(self) -> ResolvedText:
        assert self.settings is not None  # a model without settings accepts no text
        assert self.settings.text.resolved is not None  # a trained model's settings say which
        return self.settings.text.resolved

    def _missing(self, texts: Mapping[str, CaseText]) -> dict[str, list[str]]:
        unknown = {case: [one for one in text.findings if one not in self._known] for case, text in texts.items()}
        return {case: sentences for case, sentences in unknown.items() if sentences}

    def _read_files(self) -> None:
        """What the given file and the one that the model was trained with have embedded."""
        if (given := self.model.sentences) is not None:
            embeddings = read_embeddings(given)
            if different := encoder_differences(self._resolved.encoder, embeddings.encoder):
                raise EmbeddingFileError(
                    f"The model was trained with embeddings of {self._resolved.encoder.get('id')!r}; these are of "
                    f"{embeddings.encoder.get('id')!r} (different: {', '.join(different)}).",
                    where=given,
                    remedy="Embed the sentences with the model's own encoder (`nnUNetv2_textguided encode`).",
                )
            self._take(embeddings)
        source = Path(self._resolved.source)
        if source.suffix == ".safetensors" and source.is_file():
            embeddings = read_embeddings(source)
            # Another encoder's: somebody has encoded the data set anew since.
            if not encoder_differences(self._resolved.encoder, embeddings.encoder):
                self._take(embeddings)

    def _take(self, embeddings: TextEmbeddings) -> None:
        for table in embeddings.tables.values():
            self._learn(table)

    def _learn(self, table: SentenceTable) -> None:
        tokens = bool(self._resolved.word_dim)
        if tokens and table.tokens is None:
            return  # embedded with --no-tokens: the network reads tokens
        self._known |= dict(zip(table.texts, table.of(table.texts, "", tokens=tokens), strict=True))

    def _encoder(self, missing: Mapping[str, list[str]]) -> TextEncoder:
        """The model's own text encoder.

        Raises:
            EncoderError: it cannot be had, or what is there is another one.
        """
        trained = self._resolved.encoder
        case, sentences = next(iter(missing.items()))
        name = self.model.encoder or encoder_name(trained)
        elsewhere = (
            f"where the encoder is, put the sentences into a file and run `nnUNetv2_textguided encode --labels LESION "
            f"--encoder {name or 'local:DIR'} --case-text FILE -o sentences.safetensors`, and predict with --sentences "
            "sentences.safetensors."
        )
        what = f"Sentences have no embedding yet, such as {sentences[0]!r} of case {case}"
        if name is None:
            raise EncoderError(
                f"{what}; the model's encoder {trained.get('id')!r} has no name here.",
                where="--encoder",
                remedy=f"Name it with --encoder local:DIR. Or, {elsewhere}",
            )
        try:
            encoder = load_encoder(name)
        except EncoderError as error:
            raise EncoderError(
                f"{what}, and the model's text encoder cannot be had. {error.what}",
                where=error.where,
                remedy=f"{error.remedy or ''} Or, {elsewhere}".strip(),
            ) from error
        if different := encoder_differences(trained, encoder.identity):
            raise EncoderError(
                f"{name} is not the encoder that the model was trained with, {trained.get('id')!r} (different: "
                f"{', '.join(different)}).",
                where="--encoder",
                remedy=f"Name that one with --encoder. Or, {elsewhere}",
            )
        return encoder
