// x * sigmoid(up): what a shared expert's gate does to it.
fn gated(x: f32, up: f32) -> f32 {
    return x / (1.0 + exp(min(-up, 87.0)));
}
