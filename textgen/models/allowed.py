"""What the configuration of a model file may name, and the limits of its sizes."""

import re
from typing import Any

import keras

from textgen.models import fields
from textgen.models.network import LAYERS

# Limits of `textgen.load`, with their defaults.
LIMITS = {
    "weight_bytes": 1 << 32,
    "config_bytes": 1 << 25,
    "layers": 256,
    "units": 1 << 20,
    "steps": 100_000,
    "batch_size": 1 << 16,
}

ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid"),
    *("hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid"),
    *("log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu"),
    *("soft_shrink", "softmax", "softplus", "softsign", "sparse_plus"),
    *("sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink"),
    "threshold",
)
INITIALIZERS = (
    *("Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform"),
    *("Identity", "LecunNormal", "LecunUniform", "Ones", "Orthogonal"),
    *("OrthogonalInitializer", "RandomNormal", "RandomUniform", "TruncatedNormal"),
    *("VarianceScaling", "Zeros"),
)
# Names by which a `LanguageModel` may name its initializer.
INITIALIZER_NAMES = (
    *(name for name in INITIALIZERS if name not in ("Constant", "Identity")),
    *("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "identity"),
    *("lecun_normal", "lecun_uniform", "ones", "orthogonal", "random_normal"),
    *("random_uniform", "truncated_normal", "variance_scaling", "zeros", "one", "zero"),
    *("normal", "uniform"),
)
REGULARIZERS = ("L1", "L1L2", "L2", "OrthogonalRegularizer")
CONSTRAINTS = ("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm")
OPTIMIZERS = (
    *("Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb"),
    *("Lion", "LossScaleOptimizer", "Muon", "Nadam", "RMSprop", "SGD"),
    "ScheduleFreeAdamW",
)
SCHEDULES = (
    *("CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay"),
    *("PiecewiseConstantDecay", "PolynomialDecay"),
)
LOSSES = (
    *("BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy"),
    *("CategoricalFocalCrossentropy", "CategoricalGeneralizedCrossEntropy"),
    *("CategoricalHinge", "Circle", "CosineSimilarity", "Dice", "Hinge", "Huber"),
    *("KLDivergence", "LogCosh", "MeanAbsoluteError", "MeanAbsolutePercentageError"),
    *("MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson"),
    *("SparseCategoricalCrossentropy", "SquaredHinge", "Tversky"),
)
METRICS = (
    *("AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU"),
    *("CategoricalAccuracy", "CategoricalCrossentropy", "CategoricalHinge"),
    *("ConcordanceCorrelation", "CosineSimilarity", "F1Score", "FBetaScore"),
    *("FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence"),
    *("LogCoshError", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError"),
    *("MeanIoU", "MeanMetricWrapper", "MeanSquaredError"),
    *("MeanSquaredLogarithmicError", "OneHotIoU", "OneHotMeanIoU"),
    *("PearsonCorrelation", "Poisson", "Precision", "PrecisionAtRecall", "R2Score"),
    *("Recall", "RecallAtPrecision", "RootMeanSquaredError"),
    *("SensitivityAtSpecificity", "SparseCategoricalAccuracy"),
    *("SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy"),
    *("SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy"),
    *("TrueNegatives", "TruePositives"),
)
# Functions that `compile` accepts as a loss or as a metric.
FUNCTIONS = (
    *("binary_accuracy", "binary_crossentropy", "binary_focal_crossentropy"),
    *("categorical_accuracy", "categorical_crossentropy"),
    *("categorical_focal_crossentropy", "categorical_generalized_cross_entropy"),
    *("categorical_hinge", "circle", "concordance_correlation", "cosine_similarity"),
    *("dice", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error"),
    *("mean_absolute_percentage_error", "mean_squared_error"),
    *("mean_squared_logarithmic_error", "pearson_correlation", "poisson"),
    *("sparse_categorical_accuracy", "sparse_categorical_crossentropy"),
    *("sparse_top_k_categorical_accuracy", "squared_hinge"),
    *("top_k_categorical_accuracy", "tversky"),
)
# Strings that `compile` accepts as a loss or as a metric.
NAMES = (
    *FUNCTIONS,
    *LOSSES,
    *METRICS,
    *(re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in (*LOSSES, *METRICS)),
    *("acc", "accuracy", "auc", "bce", "BCE", "ce", "crossentropy", "kld", "KLD"),
    *("logcosh", "mae", "MAE", "mape", "MAPE", "mse", "MSE", "msle", "MSLE"),
)
# Operations of the masks of Keras's layers.
OPERATIONS = (
    *("Any", "Concatenate", "ExpandDims", "LogicalOr", "NotEqual", "OnesLike"),
    *("Squeeze", "ZerosLike"),
)

_FUNCTIONAL = ("keras", "keras.models", "keras.src.models.functional")


class Role:
    """What an object of a configuration may be.

    Args:
        modules: tuple of str. Modules of Keras, as files name them.
        names: tuple of str. Class names.
        rules: Fields of the classes.
        base: Base class of registered classes, or `None` if only textgen's own are
            allowed.
        functions: tuple of str, or `None`. Names of the functions of Keras that may
            replace an object; `None` if no function may.
    """

    def __init__(
        self,
        modules: tuple[str, ...],
        names: tuple[str, ...],
        rules: dict[str, fields.Rule],
        base: Any = None,
        functions: tuple[str, ...] | None = None,
    ) -> None:
        self.modules, self.names, self.rules = modules, names, rules
        self.base, self.functions = base, functions


_LAYERS = tuple(name for name in LAYERS if name not in ("Functional", "Sequential"))
TEXTGEN_LAYERS = ("OneHot", "Embedding", "SimpleRNN", "GRU", "LSTM")
ROLES = {
    "network": Role(_FUNCTIONAL, ("Functional",), fields.FUNCTIONAL),
    "functional": Role(_FUNCTIONAL, ("Functional",), fields.FUNCTIONAL),
    "sequential": Role(("keras", "keras.models"), ("Sequential",), fields.SEQUENTIAL),
    "operation": Role(("keras.src.ops.numpy",), OPERATIONS, fields.OPERATION),
    "layer": Role(("keras.layers",), _LAYERS, fields.LAYER),
    "initializer": Role(
        ("keras.initializers",),
        INITIALIZERS,
        fields.INITIALIZER,
        keras.initializers.Initializer,
    ),
    "regularizer": Role(
        ("keras.regularizers",),
        REGULARIZERS,
        fields.REGULARIZER,
        keras.regularizers.Regularizer,
    ),
    "constraint": Role(
        ("keras.constraints",),
        CONSTRAINTS,
        fields.CONSTRAINT,
        keras.constraints.Constraint,
    ),
    "dtype": Role(
        ("keras", "keras.dtype_policies"),
        ("DTypePolicy", "FloatDTypePolicy"),
        fields.DTYPE_POLICY,
    ),
    "optimizer": Role(
        ("keras.optimizers",), OPTIMIZERS, fields.OPTIMIZER, keras.optimizers.Optimizer
    ),
    "schedule": Role(
        ("keras.optimizers.schedules",),
        SCHEDULES,
        fields.SCHEDULE,
        keras.optimizers.schedules.LearningRateSchedule,
        (),
    ),
    "loss": Role(("keras.losses",), LOSSES, fields.LOSS, keras.losses.Loss, FUNCTIONS),
    "metric": Role(
        ("keras.metrics",), METRICS, fields.METRIC, keras.metrics.Metric, FUNCTIONS
    ),
}
