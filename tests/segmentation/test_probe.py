from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inmf_flow.errors import ArgumentError, ModelFileError, NotFittedError
from inmf_flow.segmentation import ActivationProbe, score_frames


def clouds(frames: int = 300, features: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames of three classes that overlap; each class has a feature of its own, the others mean nothing."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, frames)
    x = random.standard_normal((frames, features))
    x[np.arange(frames), classes] += 2
    return x * [1, 10, 0.1, 1, 1, 1], np.array(["music", "noise", "speech"])[classes]


def test_weights_are_those_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, labels = clouds()
    probe = ActivationProbe(l2=0.01, balanced=False, tol=1e-9).fit(x, labels)
    z = (x - x.mean(0)) / x.std(0)
    theirs = linear_model.LogisticRegression(C=1 / (0.01 * len(x)), tol=1e-10, max_iter=2000).fit(z, labels)
    np.testing.assert_allclose(probe.coef_, theirs.coef_, atol=2e-4)
    np.testing.assert_allclose(probe.predict_proba(x), theirs.predict_proba(z), atol=1e-4)


def test_a_logit_is_the_sum_of_its_contributions() -> None:
    x, labels = clouds()
    probe = ActivationProbe().fit(x, labels)
    total = probe.contributions(x[:5]).sum(2) + probe.intercept_
    np.testing.assert_allclose(total, probe.decision_function(x[:5]), atol=1e-12)


def test_relevance_names_the_feature_that_makes_a_class() -> None:
    x, labels = clouds()
    probe = ActivationProbe().fit(x, labels)
    assert probe.classes_ == ["music", "noise", "speech"]
    assert probe.relevance().argmax(1).tolist() == [0, 1, 2]
    assert (probe.relevance()[:, :3].diagonal() > 5 * np.abs(probe.relevance()[:, 3:]).max()).all()


def test_an_l1_penalty_leaves_out_what_tells_nothing() -> None:
    x, labels = clouds()
    probe = ActivationProbe(l1=0.05, l2=0).fit(x, labels)
    assert np.abs(probe.coef_[:, 3:]).max() < 1e-6
    assert (probe.predict(x) == labels).mean() > 0.7


def test_balanced_classes_do_not_drown_the_rare_one() -> None:
    x, labels = clouds(2000)
    rare = np.flatnonzero(labels == "speech")[:30]
    chosen = np.concatenate([np.flatnonzero(labels == "music"), rare])
    found = {}
    for balanced in (False, True):
        decided = ActivationProbe(balanced=balanced).fit(x[chosen], labels[chosen]).predict(x)
        found[balanced] = (decided[labels == "speech"] == "speech").mean()
    assert found[True] > found[False] + 0.05


def test_classes_that_overlap_are_told_apart_one_by_one() -> None:
    random = np.random.default_rng(0)
    marked = random.random((400, 2)) < 0.5
    x = marked * 3.0 + random.standard_normal((400, 2))
    probe = ActivationProbe(multilabel=True).fit(x[:200], marked[:200], ["speech", "music"])
    scores = score_frames(marked[200:], probe.predict(x[200:]), probe.classes_, multilabel=True)
    assert min(scores.f1.values()) > 0.85
    assert scores.confusion == []
    assert (probe.predict_proba(x).sum(1) > 1.2).any()


def test_a_feature_that_never_changes_does_no_harm() -> None:
    x, labels = clouds()
    plain = ActivationProbe().fit(x, labels)
    probe = ActivationProbe().fit(np.hstack([x, np.full((len(x), 1), -4.6)]), labels)
    np.testing.assert_allclose(probe.coef_[:, :-1], plain.coef_, atol=1e-4)
    assert np.isfinite(probe.predict_proba(np.full((1, 7), 3.0))).all()


def test_frames_without_a_label_are_left_out() -> None:
    x, labels = clouds()
    some = np.where(np.arange(len(x)) % 3 == 0, "", labels)
    probe = ActivationProbe().fit(x, some)
    np.testing.assert_allclose(probe.coef_, ActivationProbe().fit(x[some != ""], some[some != ""]).coef_)


def test_a_file_gives_the_same_probe_back(tmp_path: Path) -> None:
    x, labels = clouds()
    probe = ActivationProbe(l1=0.001).fit(x, labels)
    probe.provenance = {"of": "a test"}
    probe.save(tmp_path / "probe.safetensors")
    again = ActivationProbe.load(tmp_path / "probe.safetensors")
    assert np.array_equal(again.predict_proba(x), probe.predict_proba(x))
    assert np.array_equal(again.relevance(), probe.relevance())
    assert (again.l1, again.provenance, again.classes_) == (0.001, {"of": "a test"}, probe.classes_)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "probe.safetensors").read_bytes()


@pytest.mark.parametrize("content", [b"", b"nothing of ours", b"\x10\0\0\0\0\0\0\0{}              "])
def test_a_file_that_is_no_probe_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "probe.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match="no readable probe"):
        ActivationProbe.load(tmp_path / "probe.safetensors")
    with pytest.raises(ModelFileError, match="no such probe"):
        ActivationProbe.load(tmp_path / "none.safetensors")


def test_wrong_input_is_one_clear_error() -> None:
    x, labels = clouds(20)
    with pytest.raises(NotFittedError):
        ActivationProbe().predict(x)
    with pytest.raises(ArgumentError, match="not finite"):
        ActivationProbe().fit(np.where(x == x[0, 0], np.nan, x), labels)
    with pytest.raises(ArgumentError, match="no frame to learn from"):
        ActivationProbe().fit(x, labels, ["music", "noise", "speech", "silence"])
    with pytest.raises(ArgumentError, match="not among the classes"):
        ActivationProbe().fit(x, labels, ["music", "noise"])
    with pytest.raises(ArgumentError, match="too few classes"):
        ActivationProbe().fit(x, ["music"] * 20)
    with pytest.raises(ArgumentError, match="two classes"):
        ActivationProbe().fit(x, np.ones((20, 2), bool), ["a", "b"])
    with pytest.raises(ArgumentError, match="wrong number"):
        ActivationProbe().fit(x, labels).predict(x[:, :2])
    with pytest.raises(ArgumentError, match="penalty"):
        ActivationProbe(l2=-1)


def test_scores_count_what_was_mistaken_for_what() -> None:
    truth = np.eye(2, dtype=bool)[[0, 0, 0, 1]]
    unknown = np.zeros((1, 2), bool)
    decided = np.eye(2, dtype=bool)[[0, 0, 1, 1, 0]]
    scores = score_frames(np.concatenate([truth, unknown]), decided, ["a", "b"])
    assert (scores.frames, scores.accuracy, scores.confusion) == (4, 0.75, [[2, 1], [0, 1]])
    assert scores.f1 == pytest.approx({"a": 0.8, "b": 2 / 3})
    assert scores.precision == {"a": 1.0, "b": 0.5}
    nothing = score_frames(truth[:0], decided[:0], ["a", "b"])
    assert nothing.as_json()["accuracy"] is None
