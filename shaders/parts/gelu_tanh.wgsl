// x / 2 * (1 + tanh(a)) * up, with a = sqrt(2 / pi) * (x + 0.044715 x^3): what "gelu_new" and "gelu_pytorch_tanh" name.
// Written as x * sigmoid(2 a), which does not cancel where x is negative; the bound keeps exp finite.
fn gated(x: f32, up: f32) -> f32 {
    let twice = 1.5957691216057308 * (x + 0.044715 * x * x * x);
    return x / (1.0 + exp(min(-twice, 87.0))) * up;
}
