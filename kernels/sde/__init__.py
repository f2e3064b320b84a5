"""Kernels of the stochastic modified equations of dropout: many paths at once, one backend per module.

With L = R_S + R_1, learning rate ε and Σ = Cov ∇R_drop the equations are (arXiv:2305.15850)

    order 1    dΘ = -∇L dt + √ε Σ^½ dW
    order 2    dΘ = -∇(L + (ε/4) |∇L|²) dt + √ε Σ^½ dW,          ∇(|∇L|²/4) = ½ H ∇L,  H the Hessian of L

The noise Σ^½ dW needs no root of Σ. The gradient under one mask is a sum of uncorrelated products of the dropout
factors (`closed_form`): η_k, and η_k η_l for k < l; with Gaussian factors η_k² - v besides. Independent normal numbers
of the same variances, √v ξ_k, v ξ_kl and √2 v ξ'_k, in the place of the products give a Gaussian vector of covariance
Σ. For a group of samples under one mask it is

    N_j = (1/n) Σ_ρ g_ρj T_ρj          T_ρj = √v Σ_k ξ_k u_ρk + v Σ_{k≠j} ξ_jk u_ρk + O_ρj
    O_ρj = √v ξ_j (e_ρ + (v - 1) u_ρj)   with Bernoulli factors      √v ξ_j e_ρ + √2 v ξ'_j u_ρj   with Gaussian ones

with ρ = (sample, output). In a group of one row ρ the m(m-1)/2 numbers ξ_jk only enter as z_j = Σ_{k≠j} ξ_jk u_k, of
covariance diag(D) + u uᵀ with D_j = |u|² - 2 u_j²: where all D_j ≥ 0, z_j = √D_j ζ_j + u_j ζ_0. At most one D_j is
negative, that of the largest u_j² (`j = q`). The others are drawn so, and z_q from its law given them:

    z_q = u_q (Σ_{j≠q} u_j z_j / D_j) / (1 + r) + √(D_q + u_q² / (1 + r)) ζ_q,      r = Σ_{j≠q} u_j² / D_j

The other noises, k masks a step, noise τ on the targets and τ_P on the gradient, minibatches of B:

    k masks      the T above times 1/√k
    targets      the gradient gains -(τ/n) Σ_ρ ζ_ρ (1 + η_j) g_ρj:   T_ρj gains τ (ζ_ρ + √(v/k) ζ_ρj)
    gradient     N gains τ_P ζ
    minibatch    sample i counts w_i times, with mean 1 and covariance c² (1 [i = l] - 1/n), where c² = n/B with and
                 (n/B) (n - B)/(n - 1) without replacement. Every product of factors becomes one for each sample: ξ of
                 one mask for all turns into ξ + c (ξ_i - mean of all ξ_i), sample masks get √(n/B) ξ_i, the mean
                 gradient brings c (ω_i - mean of all ω_i) (e_ρ + v u_ρj), and noise on the targets gains √(n/B)

All that is drawn with increments "normal". With increments "masks" the noise of a step is (G - G')/√2, where G and G'
are gradients under two independent draws of all noise at the same point: its covariance is Σ, its odd moments are 0,
and its fourth cumulant, half of G's, enters a mean at time t by O(ε² h t) for steps h of the scheme: weakly it stands
for a normal one, as the two-point increments of weak schemes do (Kloeden & Platen, Numerical Solution of Stochastic
Differential Equations, 1992, chapter 14). It costs two gradients in the place of m(m + 1)/2 normal numbers, and holds
for every noise of a step, DropConnect too, whose mean gradient and its derivative are `simdrop_kernels.connect`'s.
"""

from .spec import INCREMENTS, SCHEMES, Backend, Counts, Equation, Increments, Scheme, choose, names

__all__ = ["INCREMENTS", "SCHEMES", "Backend", "Counts", "Equation", "Increments", "Scheme", "choose", "names"]
