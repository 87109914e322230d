// x / 2 * (1 + erf(x / sqrt(2))) * up; erf by formula 7.1.26 of Abramowitz and Stegun, whose error is below 1.5e-7.
fn gated(x: f32, up: f32) -> f32 {
    let z = abs(x) * 0.7071067811865476;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    // 1 - erf(z), kept as it is where x is negative: 1 + erf(x) would cancel.
    let rest = series * exp(-z * z);
    return 0.5 * x * select(rest, 2.0 - rest, x >= 0.0) * up;
}
