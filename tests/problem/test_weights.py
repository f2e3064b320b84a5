"""problem.import_weights and export_weights: networks of other libraries; problem.predict(masks=...): dropout on."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

import simdrop
from simdrop.errors import InvalidInput

D, M, C, N = 3, 8, 2, 20
DRAWN = np.random.default_rng(0)
X, Y = DRAWN.standard_normal((N, D)), DRAWN.standard_normal((N, C))
W, B, A = DRAWN.standard_normal((M, D)), DRAWN.standard_normal(M), DRAWN.standard_normal((C, M))
OUT = np.tanh(X @ W.T + B) @ A.T
TORCH_NAMES = {"0.weight": W, "0.bias": B, "3.weight": A}
KERAS_NAMES = {"hidden/kernel:0": W.T, "hidden/bias:0": B, "out/kernel:0": A.T}


def _problem(**changes: Any) -> simdrop.Problem:
    return simdrop.Problem(X, Y, **({"width": M, "keep_prob": 0.7, "output_scale": "1/sqrt(m)"} | changes))


class Dense:
    """A stand-in for a layer of Keras, with its public attributes."""

    def __init__(self, name: str, weights: list[NDArray[Any]], activation: Any = None) -> None:
        self.name, self._weights, self.activation = name, weights, activation

    def get_weights(self) -> list[NDArray[Any]]:
        return self._weights


class Dropout(Dense):
    pass


class Activation(Dense):
    pass


class BatchNormalization(Dense):
    pass


class Model:
    """A stand-in for a model of Keras."""

    def __init__(self, *layers: Dense) -> None:
        self.layers = list(layers)

    def get_weights(self) -> list[NDArray[Any]]:
        return [weights for layer in self.layers for weights in layer.get_weights()]


def tanh(z: ArrayLike) -> ArrayLike:
    return np.tanh(z)


def softmax(z: ArrayLike) -> ArrayLike:
    return z


HIDDEN = Dense("hidden", [W.T, B], tanh)


@pytest.mark.parametrize(
    "source",
    [
        TORCH_NAMES,
        KERAS_NAMES,
        {"params": {"Dense_0": {"kernel": W.T, "bias": B}, "Dense_1": {"kernel": A.T, "bias": np.zeros(C)}}},
        {"0.weight": W.tolist(), "0.bias": B.tolist(), "1.weight": A.tolist()},
        {"a": A * np.sqrt(M), "w": np.column_stack([W, B])},
        {"a": A * np.sqrt(M), "w": W, "b": B},
        Model(HIDDEN, Dropout("drop", []), Dense("out", [A.T])),
        Model(Dense("hidden", [W.T, B]), Activation("act", [], tanh), Dense("out", [A.T, np.zeros(C)])),
    ],
)
def test_what_is_imported_computes_what_the_source_does(source: Any) -> None:
    problem = _problem()
    theta = problem.import_weights(source)
    assert theta.shape == (problem.n_params,)
    np.testing.assert_allclose(problem.predict(theta), OUT, rtol=1e-13, atol=1e-13)


def test_a_file_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", **TORCH_NAMES)
    with np.load(tmp_path / "weights.npz") as source:
        np.testing.assert_array_equal(_problem().import_weights(source), _problem().import_weights(TORCH_NAMES))


def test_scikit_learn() -> None:
    neural_network = pytest.importorskip("sklearn.neural_network")
    options: dict[str, Any] = {"hidden_layer_sizes": (M,), "max_iter": 3, "random_state": 0, "solver": "sgd"}
    labels = np.arange(N) % 3
    with pytest.warns(Warning, match="Maximum iterations"):
        regressor = neural_network.MLPRegressor(activation="logistic", **options).fit(X, Y)
    with pytest.warns(Warning, match="Maximum iterations"):
        classifier = neural_network.MLPClassifier(activation="tanh", **options).fit(X, labels)
    problem = _problem(activation="sigmoid")
    with pytest.raises(InvalidInput, match=r"intercepts_\[1\] is a bias of the outputs, \[.*output_bias='drop'"):
        problem.import_weights(regressor)
    theta = problem.import_weights(regressor, output_bias="drop")
    np.testing.assert_allclose(problem.predict(theta) + regressor.intercepts_[1], regressor.predict(X), rtol=1e-12)
    with pytest.raises(InvalidInput, match="source has activation 'sigmoid', and the problem 'tanh'"):
        _problem().import_weights(regressor)
    classes = simdrop.Problem(X, labels, width=M, loss="softmax")
    classifier.intercepts_[1][:] = 0
    theta = classes.import_weights(classifier)
    np.testing.assert_allclose(classes.probabilities(theta), classifier.predict_proba(X), rtol=1e-12)
    with pytest.raises(
        InvalidInput, match="source has 'softmax' after its outputs, and the problem, with loss 'squared'"
    ):
        simdrop.Problem(X, np.eye(3)[labels], width=M).import_weights(classifier)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (TORCH_NAMES | {"3.bias": np.ones(C)}, r"3.bias is a bias of the outputs, \[1.0, 1.0\]"),
        (
            TORCH_NAMES | {"0.weight": W.T},
            r"0.weight must have shape \(8, 3\) = \(units, inputs\), got \(3, 8\); it is tra",
        ),
        (
            KERAS_NAMES | {"out/kernel:0": A},
            r"out/kernel:0 must have shape \(8, 2\) = \(units, outputs\), got \(2, 8\)",
        ),
        (TORCH_NAMES | {"0.bias": B[1:]}, r"0.bias must have shape \(8,\) = \(units\), got \(7,\)"),
        (TORCH_NAMES | {"5.weight": A}, "source has 3 layers with weights"),
        ({"0.weight": W}, "source has 1 layer with weights"),
        (
            TORCH_NAMES | {"1.running_mean": B},
            "source has an array '1.running_mean', and must be a torch.nn.Sequential",
        ),
        ({"0.bias": B, "3.weight": A}, "source has '0.bias' without the weights of that layer"),
        (TORCH_NAMES | {"0.weight": W * np.nan}, "0.weight has 24 non-finite values"),
        (TORCH_NAMES | {"0.weight": "text"}, "0.weight must hold numbers"),
        ({"a": A, "w": W}, "w must have shape .*the column of biases is missing"),
        ([W, B, A], "source must be a torch.nn.Sequential, a Keras model"),
        (None, "source must be a torch.nn.Sequential"),
        (Model(HIDDEN, BatchNormalization("norm", []), Dense("out", [A.T])), "a layer 'norm', BatchNormalization"),
        (
            Model(Dense("hidden", [W.T, B]), Dense("out", [A.T])),
            "source has activation 'linear', and the problem 'tanh'",
        ),
        (Model(HIDDEN, Dense("out", [A.T], softmax)), "source has 'softmax' after its outputs"),
        (Model(HIDDEN, Dense("out", [A.T, np.ones(C)])), "out/bias is a bias of the outputs"),
    ],
)
def test_what_is_another_network_is_refused(source: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        _problem().import_weights(source)
    assert "\n" not in str(caught.value)


def test_biases_of_a_problem_without_them() -> None:
    problem = _problem(bias=False)
    with pytest.raises(InvalidInput, match=r"0\.bias: this problem has bias=False"):
        problem.import_weights(TORCH_NAMES)
    theta = problem.import_weights(TORCH_NAMES | {"0.bias": np.zeros(M)})
    np.testing.assert_allclose(problem.predict(theta), np.tanh(X @ W.T) @ A.T, rtol=1e-13, atol=1e-13)
    assert list(problem.export_weights(theta)) == ["hidden.weight", "output.weight"]


def test_exported_arrays_compute_what_predict_does_and_come_back() -> None:
    problem = _problem()
    theta = problem.init(seed=1, members=4)
    arrays = problem.export_weights(theta, to="numpy")
    hidden = np.tanh(np.einsum("nd,bmd->bnm", X, arrays["hidden.weight"]) + arrays["hidden.bias"][:, None])
    out = np.einsum("bnm,bcm->bnc", hidden, arrays["output.weight"])
    np.testing.assert_allclose(out, problem.predict(theta), rtol=1e-13, atol=1e-13)
    back = problem.import_weights({name: array[2] for name, array in arrays.items()})
    np.testing.assert_allclose(back, theta[2], rtol=1e-15)
    with pytest.raises(InvalidInput, match=r"parameters of one network for to='torch', got shape \(4, 48\)"):
        problem.export_weights(theta, to="torch")
    with pytest.raises(InvalidInput, match=r"PyTorch has no layer for activation 'sin'"):
        _problem(activation="sin").export_weights(theta[0], to="torch")
    with pytest.raises(InvalidInput, match="unknown to 'jax'"):
        problem.export_weights(theta, to="jax")


@pytest.mark.peer
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sigmoid", "softplus", "linear"])
@pytest.mark.parametrize("bias", [True, False])
def test_torch_computes_what_predict_does(activation: str, bias: bool) -> None:
    torch = pytest.importorskip("torch")
    problem = _problem(activation=activation, bias=bias)
    theta = problem.init(seed=1)
    model = problem.export_weights(theta, to="torch")
    with torch.no_grad():
        out = model(torch.from_numpy(X.copy())).numpy()
    np.testing.assert_allclose(out, problem.predict(theta), rtol=1e-12, atol=1e-13)
    assert model[2].p == pytest.approx(0.3)
    for source in (model, model.state_dict()):
        np.testing.assert_allclose(problem.import_weights(source), theta, rtol=1e-15)
    if activation != "tanh":
        with pytest.raises(InvalidInput, match=f"source has activation '{activation}', and the problem 'tanh'"):
            _problem(bias=bias).import_weights(model)


@pytest.mark.peer
def test_networks_of_torch() -> None:
    torch = pytest.importorskip("torch")
    nn, problem = torch.nn, _problem()
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(D, M), nn.Tanh(), nn.Dropout(0.3), nn.Linear(M, C, bias=False)).eval()
    out = plain(torch.from_numpy(X.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(problem.predict(problem.import_weights(plain)), out, rtol=1e-5, atol=1e-6)
    biased = nn.Sequential(nn.Linear(D, M), nn.Tanh(), nn.Linear(M, C))
    for source, words in [
        (biased, "2.bias is a bias of the outputs"),
        (nn.Sequential(*plain, nn.Linear(C, C)), "source has 3 layers with weights"),
        (nn.Sequential(*plain, nn.ReLU()), "source has 'relu' after its outputs"),
        (nn.Sequential(*list(plain)[:-1], nn.LayerNorm(M), plain[-1]), r"source has a layer '4', LayerNorm\(\(8,\)"),
        (nn.Sequential(nn.Linear(D, M), nn.GELU(approximate="tanh"), plain[-1]), "source has a layer '1', GELU"),
        (nn.Sequential(nn.Linear(D, M + 1), nn.Tanh(), nn.Linear(M + 1, C)), r"0.weight must have shape \(8, 3\)"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            problem.import_weights(source)
    theta = problem.import_weights(biased, output_bias="drop")
    out = biased(torch.from_numpy(X.astype(np.float32))).detach().numpy() - biased[2].bias.detach().numpy()
    np.testing.assert_allclose(problem.predict(theta), out, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_outputs_under_masks_are_those_of_the_masks(mask: Any) -> None:
    problem = _problem(mask=mask)
    theta = problem.init(seed=1, members=3)
    found = problem.predict(theta, X[:5], masks=7, seed=4)
    with pytest.raises(InvalidInput, match="seed is that of the masks, and needs a number of masks"):
        problem.predict(theta, X[:5], seed=4)
    samples = 5 if mask == "sample" else None
    kept = simdrop.masks(seed=4, member=0, step=np.arange(7), width=M, keep_prob=0.7, samples=samples) / 0.7
    kept = kept if samples else kept[:, None]
    a, w = problem.split(theta)
    h = np.tanh(np.column_stack([X[:5], np.ones(5)]) @ w.swapaxes(-1, -2))
    out = np.stack([(h * one) @ a.swapaxes(-1, -2) / np.sqrt(M) for one in kept])
    np.testing.assert_allclose(found.mean, out.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.std, out.std(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(found.exact_mean, problem.predict(theta, X[:5]))


def test_the_closed_form_is_the_mean_over_all_masks() -> None:
    problem = simdrop.Problem(X, Y, width=4, keep_prob=0.6, output_scale=0.3)
    theta = problem.init(seed=2)
    a, w = problem.split(theta)
    h = np.tanh(np.column_stack([X, np.ones(N)]) @ w.T)
    masks = np.array(list(itertools.product([0, 1], repeat=4)))
    weights = np.prod(np.where(masks, 0.6, 0.4), axis=1)
    out = np.stack([0.3 * (h * one / 0.6) @ a.T for one in masks])
    mean = np.tensordot(weights, out, axes=1)
    variance = np.tensordot(weights, np.square(out - mean), axes=1)
    found = problem.predict(theta, masks=1)
    np.testing.assert_allclose(found.exact_mean, mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.exact_std, np.sqrt(variance), rtol=1e-12)
    assert np.isnan(found.std).all()
    with pytest.raises(InvalidInput, match="masks must be a whole number of at least 1, got 0"):
        problem.predict(theta, masks=0)
