//! The numbers of 4-bit encodings that are no steps of a scale.

/// "4-bit NormalFloat": quantiles of a normal distribution, brought into ±1 (QLoRA, Dettmers et al. 2023, appendix E).
pub const NF4: [f32; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];

/// bitsandbytes' 4-bit float: a sign, and in no order 0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3 and 1.
pub const FP4: [f32; 16] = [
    0.0,
    0.0052083335,
    0.6666667,
    1.0,
    0.33333334,
    0.5,
    0.16666667,
    0.25,
    0.0,
    -0.0052083335,
    -0.6666667,
    -1.0,
    -0.33333334,
    -0.5,
    -0.16666667,
    -0.25,
];
