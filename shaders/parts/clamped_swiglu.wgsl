// g * sigmoid(1.702 g) * (u + 1), with g = min(x, limit) and u = up held within ± limit: gpt-oss's gate.
fn gated(x: f32, up: f32) -> f32 {
    let gate = min(x, params.limit);
    return gate / (1.0 + exp(min(-1.702 * gate, 87.0))) * (clamp(up, -params.limit, params.limit) + 1.0);
}
