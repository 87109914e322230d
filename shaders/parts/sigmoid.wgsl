// sigmoid(x) * up
fn gated(x: f32, up: f32) -> f32 {
    return up / (1.0 + exp(min(-x, 87.0)));
}
