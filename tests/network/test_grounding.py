"""Grounding head and clinical conditioning: identity at the start and without text, gradients, degenerate input."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nnunetv2_textguided.anatomy.sectors import DEPTHS, LEVELS, SECTORS, SIDES, ZONES
from nnunetv2_textguided.errors import SettingsError
from nnunetv2_textguided.network.clinical import FACTS, ClinicalConditioning
from nnunetv2_textguided.network.grounding import CaseInput, GroundingHead
from nnunetv2_textguided.settings.presets import resolve
from tests.networks import EMBEDDING_DIM, network

ON: dict[str, Any] = {"grounding": {"enabled": True}, "text": {"case": {"sentences": True, "clinical": True}}}
NAN = float("nan")


def told(batch: int = 2, sentences: int = 3) -> CaseInput:
    generator = torch.Generator().manual_seed(1)
    return CaseInput(
        torch.randn(5, 1, EMBEDDING_DIM, generator=generator),
        torch.randn(batch, sentences, 1, EMBEDDING_DIM, generator=generator),
        torch.randn(batch, len(FACTS), generator=generator),
    )


def used(net: Any) -> Any:
    """A network whose feedback and FiLM are no longer zero, as after training."""
    torch.manual_seed(3)
    for parameter in (net.grounding.meaning.weight, net.clinical.film.weight, net.clinical.film.bias):
        torch.nn.init.normal_(parameter, std=0.5)
    return net.eval()


def test_nothing_of_it_is_in_a_network_whose_settings_leave_it_off() -> None:
    names = network().state_dict()
    assert not [name for name in names if name.startswith(("grounding", "clinical"))]


def test_the_untrained_network_is_the_one_without_text_to_the_bit() -> None:
    x, net = torch.randn(2, 3, 8, 16, 16), network(ON).eval()
    with torch.no_grad():
        assert torch.equal(net(x, text=told()), net(x))


def test_a_trained_network_listens_but_a_text_that_says_nothing_changes_no_bit() -> None:
    x, net = torch.randn(2, 3, 8, 16, 16), used(network(ON))
    text = told()
    assert text.sentences is not None
    silent = CaseInput(text.phrases, torch.zeros_like(text.sentences), torch.full((2, len(FACTS)), NAN))
    with torch.no_grad():
        plain = net(x)
        assert torch.equal(net(x, text=silent), plain)
        for part in ({"sentences": text.sentences}, {"facts": text.facts}):
            assert not torch.equal(net(x, text=CaseInput(**part)), plain)
        # Only the second case has a sentence.
        half = torch.cat([torch.zeros_like(text.sentences[:1]), text.sentences[1:]])
        told_of_one = net(x, text=CaseInput(None, half))
        assert torch.equal(told_of_one[0], plain[0])
        assert not torch.equal(told_of_one[1], plain[1])


def test_number_and_order_of_sentences_do_not_matter() -> None:
    x, net, sentences = torch.randn(2, 3, 8, 16, 16), used(network(ON)), told().sentences
    assert sentences is not None
    padded = torch.cat([sentences.flip(1), torch.zeros(2, 4, 1, EMBEDDING_DIM)], dim=1)
    with torch.no_grad():
        first, second = (net(x, text=CaseInput(None, each)) for each in (sentences, padded))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_what_is_returned_and_that_a_sentence_is_where_its_sectors_are() -> None:
    x, net, text = torch.randn(2, 3, 8, 16, 16), network(ON).eval(), told()
    with torch.no_grad():
        same = CaseInput(text.phrases, text.phrases[None].expand(2, -1, -1, -1))  # type: ignore[index]
        segmentation, similarity, _, grounded = net(x, return_similarity=True, text=same)
    assert segmentation.shape == (2, 2, 8, 16, 16)
    assert similarity.shape[2:] == (8, 8, 8)
    assert grounded.places.shape == (2, 25, 8, 16, 16)  # as fine as the stage after it
    assert grounded.attributes.shape == (5, 9)
    of_axes = grounded.attributes.sigmoid().split([2, 2, 3, 2], dim=1)
    for number, sector in enumerate(SECTORS):
        wanted = [names.index(name) for names, name in zip((ZONES, SIDES, LEVELS, DEPTHS), sector, strict=True)]
        named = torch.stack([part[:, index] for part, index in zip(of_axes, wanted, strict=True)]).prod(0)
        share = grounded.places.softmax(1)[:, 1 + number, None] * named.view(1, -1, 1, 1, 1)
        total = share if number == 0 else total + share  # noqa: F821
    torch.testing.assert_close(grounded.sentences.sigmoid(), total.clamp(1e-4, 1 - 1e-4))


def test_gradients_reach_every_part_and_maps_are_not_trained_by_the_segmentation() -> None:
    net, x = used(network(ON)).train(), torch.randn(2, 3, 8, 16, 16)
    net(x, text=told()).square().mean().backward()
    assert net.grounding.meaning.weight.grad.abs().sum() > 0
    assert net.clinical.hidden[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in (*net.grounding.image.parameters(), *net.grounding.text.parameters()))
    grounded = net(x, return_similarity=True, text=told()).grounded
    (grounded.places.square().mean() + grounded.attributes.square().mean()).backward()
    parts = (*net.grounding.image.parameters(), *net.grounding.text.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parts)
    assert net.encoder.branches[0].stages[0][0].convs[0].conv.weight.grad.abs().sum() > 0


def test_what_all_phrases_share_does_not_matter() -> None:
    torch.manual_seed(0)
    head, embeddings, features = GroundingHead(4, 8).eval(), torch.randn(1, 6, 1, 8), torch.randn(1, 4, 2, 2)
    shift = 10 * torch.randn(8)
    head.centre.copy_(embeddings.mean((0, 1, 2)))
    first = head(features, embeddings)
    head.centre.copy_((embeddings + shift).mean((0, 1, 2)))
    torch.testing.assert_close(head(features, embeddings + shift), first, rtol=1e-3, atol=1e-4)


def test_zero_features_and_zero_embeddings_have_finite_values_and_gradients() -> None:
    head = GroundingHead(4, 8, feedback=True)
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    changed, grounded = head.read(features, features, CaseInput(torch.zeros(2, 1, 8), torch.zeros(1, 1, 1, 8)))
    (changed.sum() + grounded.places.sum() + grounded.attributes.sum()).backward()  # type: ignore[union-attr]
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


def test_facts_are_standardised_by_those_that_are_known() -> None:
    film = ClinicalConditioning(4)
    film.standardise(torch.tensor([[-2.0, 60.0, NAN], [0.0, NAN, NAN], [2.0, 70.0, NAN]]))
    torch.testing.assert_close(film.mean, torch.tensor([0.0, 65.0, 0.0]))
    torch.testing.assert_close(film.deviation, torch.tensor([2.0, 50**0.5, 1.0]))
    film.standardise(torch.full((1, 3), NAN))
    assert film.mean.tolist() == [0, 0, 0]
    assert film.deviation.tolist() == [1, 1, 1]


def test_a_missing_fact_is_not_the_mean_fact() -> None:
    torch.manual_seed(0)
    film = ClinicalConditioning(4)
    torch.nn.init.normal_(film.film.weight)
    features = torch.ones(1, 4, 2, 2)
    mean, missing = (film(features, torch.tensor([[0.0, 1.0, value]])) for value in (0.0, NAN))
    assert missing.isfinite().all()
    assert not torch.allclose(mean, missing)


@pytest.mark.parametrize(
    "block",
    [
        {"text": {"case": {"sentences": True}}},
        {"grounding": {"enabled": True}, "components": []},
        {"text": {"case": {"clinical": True}}, "components": []},
    ],
)
def test_settings_that_could_not_work_are_refused(block: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="grounding"):
        resolve(block)


def reading_head(width: int = 8) -> GroundingHead:
    torch.manual_seed(0)
    return GroundingHead(4, width, feedback=True, tokens=True).eval()


def test_of_one_token_it_reads_what_a_head_for_whole_embeddings_reads() -> None:
    head, one, features = reading_head(), GroundingHead(4, 8, feedback=True).eval(), torch.randn(1, 4, 2, 2)
    left_out = one.load_state_dict(head.state_dict(), strict=False)
    assert left_out.unexpected_keys == ["attention.weight", "attention.bias"]
    texts = torch.randn(1, 6, 1, 8)
    with torch.no_grad():
        assert torch.equal(head(features, texts), one(features, texts))


def test_padding_and_the_order_of_tokens_do_not_matter_but_each_token_does() -> None:
    head, texts, features = reading_head(), torch.randn(1, 3, 5, 8), torch.randn(1, 4, 2, 2)
    torch.nn.init.normal_(head.meaning.weight)  # type: ignore[union-attr]

    def read(words: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return head.feed_back(features, words, head(features, words))

    found = read(texts)
    torch.testing.assert_close(read(torch.cat([texts.flip(2), torch.zeros(1, 3, 4, 8)], dim=2)), found)
    assert all(not torch.allclose(read(texts.index_fill(2, torch.tensor([token]), 0)), found) for token in range(5))


def test_a_word_among_many_others_is_read_once_it_is_learned() -> None:
    """Attention: the mean of fifty tokens hardly has the one that matters, its own weight finds it."""
    head, generator = reading_head(16).train(), torch.Generator().manual_seed(0)
    word, optimiser = 4 * torch.randn(16, generator=generator), torch.optim.Adam(head.parameters(), 0.01)

    def drawn(length: int) -> tuple[torch.Tensor, torch.Tensor]:
        texts, has = torch.randn(64, length, 16, generator=generator), torch.rand(64, generator=generator) < 0.5
        texts[:, length // 2] = torch.where(has[:, None], word, texts[:, length // 2])
        return texts, has.float()

    for _ in range(150):
        texts, has = drawn(6)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head.attributes(texts)[:, 0], has)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    texts, has = drawn(50)
    with torch.no_grad():
        right = ((head.eval().attributes(texts)[:, 0] > 0) == has.bool()).float().mean()
    assert head.attention is not None
    assert head.attention.weight.grad is not None
    assert head.attention.weight.grad.abs().sum() > 0
    assert right > 0.9


def test_texts_without_any_token_are_finite() -> None:
    head = reading_head().train()
    named = head.attributes(torch.zeros(2, 3, 8))
    named.sum().backward()
    assert named.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())
