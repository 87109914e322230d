// Plain f16, two values a word; needs no shader-f16.
fn widen(words: vec2<u32>) -> vec4<f32> {
    let low = unpack2x16float(words.x);
    let high = unpack2x16float(words.y);
    return vec4<f32>(low.x, low.y, high.x, high.y);
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let at = row + chunk * 4u;
    let a = weights_at(at);
    let b = weights_at(at + 1u);
    let c = weights_at(at + 2u);
    let d = weights_at(at + 3u);
    w[0] = widen(a.xy);
    w[1] = widen(a.zw);
    w[2] = widen(b.xy);
    w[3] = widen(b.zw);
    w[4] = widen(c.xy);
    w[5] = widen(c.zw);
    w[6] = widen(d.xy);
    w[7] = widen(d.zw);
    return w;
}
