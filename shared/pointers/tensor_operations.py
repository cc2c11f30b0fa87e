"""The tensor operations that pointers may ask a node for, and what each of them gives back.

One list for both sides: the node runs nothing that is not on it, and the coordinator knows from it
which answers it need not wait for. Names are PySyft's: a tensor's method, or a function's path.

Left out on purpose: what hands over numbers (`item`, `tolist`, `numpy`, `__bool__`), memory that
nobody wrote (`empty`, `resize_`), files, hooks, callables, whatever swaps a tensor's storage, and
functions that write into another operand than their first (`batch_norm`, `embedding_bag`).
"""

from __future__ import annotations

import enum


class Gives(enum.IntEnum):
    """What comes of an operation."""

    ONE = 1
    """One new tensor, under the id that the coordinator chose."""
    ITSELF = 2
    """The tensor that it changed in place."""
    NOTHING = 3
    """`backward`: gradients, and no result."""
    MANY = 4
    """Tensors whose number is known only afterwards; the node chooses their ids and tells them."""
    VALUE = 5
    """A size or a type, which is told at once."""


def _names(text: str) -> list[str]:
    return text.split()


_ARITHMETIC = "add sub mul truediv floordiv mod pow matmul and or xor"
_DUNDERS = (
    [f"__{name}__" for name in _ARITHMETIC.split()]
    + [f"__r{name}__" for name in _ARITHMETIC.split()]
    + [f"__{name}__" for name in _names("neg pos abs invert eq ne lt le gt ge getitem")]
)
_IN_PLACE_DUNDERS = [f"__i{name}__" for name in _ARITHMETIC.split()]

_COPYING = _names("""
abs acos acosh add addcdiv addcmul addmm addmv addr all amax amin any argmax argmin argsort asin
asinh atan atan2 atanh baddbmm bernoulli bmm ceil clamp clamp_max clamp_min clip clone copysign cos
cosh count_nonzero cross cumprod cumsum deg2rad diff digamma dist div divide dot eq erf erfc erfinv
exp exp2 expm1 flip floor floor_divide fmax fmin fmod frac gather ge greater greater_equal gt
heaviside histc hypot index_add index_copy index_fill index_select inner isfinite isinf isnan kron
le lerp less less_equal lgamma log log10 log1p log2 log_softmax logaddexp logcumsumexp logical_and
logical_not logical_or logical_xor logit logsumexp lt masked_fill masked_scatter masked_select
matmul maximum mean minimum mm msort mul multiply mv nan_to_num nanmean nansum ne neg negative norm
not_equal outer pow prelu prod quantile rad2deg reciprocal relu remainder renorm repeat
repeat_interleave roll rot90 round rsqrt rsub scatter scatter_add sgn sigmoid sign signbit sin sinc
sinh softmax sqrt square std sub subtract sum take take_along_dim tan tanh tile trace trapz tril
triu true_divide trunc var vdot where xlogy
new_zeros new_ones new_full zeros_like ones_like rand_like randn_like
stack cat concat hstack vstack dstack cdist tensordot einsum bucketize searchsorted isclose
""")

# results that may share the memory of what they were made from
_SHARING = _names("""
broadcast_to contiguous detach diagonal double expand expand_as flatten float half int long bool
movedim moveaxis narrow permute positive ravel real reshape reshape_as select squeeze swapaxes
swapdims t to transpose type type_as unflatten unfold unsqueeze view view_as copy conj
""")

_IN_PLACE = _names("""
abs_ add_ addcdiv_ addcmul_ addmm_ bernoulli_ ceil_ clamp_ clamp_max_ clamp_min_ clip_ copy_ cos_
cumsum_ div_ erf_ exp_ exponential_ fill_ floor_ fmod_ index_add_ index_copy_ index_fill_ lerp_ log_
log1p_ logical_not_ masked_fill_ mul_ neg_ normal_ pow_ random_ reciprocal_ relu_ remainder_ round_
rsqrt_ scatter_ scatter_add_ sigmoid_ sign_ sin_ sqrt_ square_ sub_ tan_ tanh_ tril_ triu_ trunc_
uniform_ zero_ requires_grad_
""")

_MANY = _names("""
max min median mode sort topk kthvalue cummax cummin chunk split tensor_split unbind std_mean
var_mean aminmax unique nonzero
""")

_VALUES = _names("""
dim ndimension numel nelement element_size is_floating_point is_contiguous __len__ size
""")

_FUNCTIONAL = _names("""
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d avg_pool1d
avg_pool2d bilinear binary_cross_entropy binary_cross_entropy_with_logits conv1d conv2d
conv_transpose1d conv_transpose2d cosine_embedding_loss cosine_similarity cross_entropy embedding
gelu glu group_norm hardshrink hinge_embedding_loss huber_loss kl_div l1_loss layer_norm linear
local_response_norm log_softmax logsigmoid margin_ranking_loss max_pool1d max_pool2d mse_loss
nll_loss normalize one_hot pad pairwise_distance poisson_nll_loss prelu sigmoid smooth_l1_loss
soft_margin_loss softmax softmin softplus softshrink softsign tanh tanhshrink triplet_margin_loss
""")
# with an argument `inplace`
_FUNCTIONAL_IN_PLACE = _names("""
alpha_dropout celu dropout elu feature_dropout hardsigmoid hardswish hardtanh leaky_relu mish relu
relu6 rrelu selu silu threshold
""")

_MAKING = _names("zeros ones full eye arange linspace rand randn randint randperm tensor")

_DATASET = {
    "dataset.get_data": Gives.ONE,
    "dataset.get_targets": Gives.ONE,
    "dataset.__getitem__": Gives.MANY,
    "dataset.__len__": Gives.VALUE,
}

UNIFORM = "sharing.uniform"
"""Numbers of the system's generator, int64: a shape, the lowest and the highest."""
BITS_OF = "sharing.bits"
"""Of int64 numbers (...) their bits (..., 64), the lowest first."""

SEALED = "sealed."
"""How the names of a sealed session's operations begin; other sessions have none of them."""
_SEALED = _names("triple rows take mask product reveal learn")

OPERATIONS: dict[str, Gives] = {
    **dict.fromkeys([*_DUNDERS, *_COPYING, *_SHARING], Gives.ONE),
    **dict.fromkeys([f"torch.{name}" for name in (*_COPYING, *_SHARING, *_MAKING)], Gives.ONE),
    **dict.fromkeys(
        [f"torch.nn.functional.{name}" for name in (*_FUNCTIONAL, *_FUNCTIONAL_IN_PLACE)], Gives.ONE
    ),
    **dict.fromkeys([*_IN_PLACE, *_IN_PLACE_DUNDERS], Gives.ITSELF),
    **dict.fromkeys([*_MANY, *(f"torch.{name}" for name in _MANY)], Gives.MANY),
    **dict.fromkeys(_VALUES, Gives.VALUE),
    "backward": Gives.NOTHING,
    UNIFORM: Gives.ONE,
    BITS_OF: Gives.ONE,
    **dict.fromkeys([SEALED + name for name in _SEALED], Gives.ONE),
    **_DATASET,
}
"""What a node runs for pointers; methods that torch lacks are simply never found."""

MAY_WRITE = frozenset(f"torch.nn.functional.{name}" for name in _FUNCTIONAL_IN_PLACE)
"""Of those that give ONE: asked to, they write into their first operand."""
