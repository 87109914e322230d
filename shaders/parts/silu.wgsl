// x * sigmoid(x) * up; the bound keeps exp finite, where the result is 0 to the last bit anyway.
fn gated(x: f32, up: f32) -> f32 {
    return x / (1.0 + exp(min(-x, 87.0))) * up;
}
