// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) * up, the approximation that "gelu_new" and "gelu_pytorch_tanh"
// name. Beyond the bound tanh is 1 to the last bit, and some drivers' own overflows.
fn gated(x: f32, up: f32) -> f32 {
    let inner = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh(clamp(inner, -15.0, 15.0))) * up;
}
