// x * sigmoid(x); the bound keeps exp finite, where the result is 0 to the last bit anyway.
fn activation(x: f32) -> f32 {
    return x / (1.0 + exp(min(-x, 87.0)));
}
