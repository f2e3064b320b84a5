"""The theory of dropout in closed form: pure functions of a problem and of theta, in float64."""

from .accuracy import accuracy
from .curvature import hessian, hessian_operator, hessian_product, hessian_trace
from .exact import Quadratic, linear_moments
from .flows.closure import mean_output
from .flows.flow import flow
from .limit_point import limit_point
from .linear_optimum import linear_optimum
from .losses import gradient, loss, mean_risk, modified_loss, r1, r2, risk
from .manifold_paths import manifold_paths
from .noise.operator import NoiseOperator, dropout_gradient
from .noise.step import StepNoise, covariance_product, mean_gradient, noise_covariance, second_moment
from .stability import stability_threshold, stationary_moments

__all__ = [
    "NoiseOperator",
    "Quadratic",
    "StepNoise",
    "accuracy",
    "covariance_product",
    "dropout_gradient",
    "flow",
    "gradient",
    "hessian",
    "hessian_operator",
    "hessian_product",
    "hessian_trace",
    "limit_point",
    "linear_moments",
    "linear_optimum",
    "loss",
    "manifold_paths",
    "mean_gradient",
    "mean_output",
    "mean_risk",
    "modified_loss",
    "noise_covariance",
    "r1",
    "r2",
    "risk",
    "second_moment",
    "stability_threshold",
    "stationary_moments",
]
