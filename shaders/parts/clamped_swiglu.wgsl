// g * sigmoid(1.702 g) * (u + 1), with g = min(x, 7) and u = up held between -7 and 7: gpt-oss's gate.
fn gated(x: f32, up: f32) -> f32 {
    let gate = min(x, 7.0);
    return gate / (1.0 + exp(min(-1.702 * gate, 87.0))) * (clamp(up, -7.0, 7.0) + 1.0);
}
