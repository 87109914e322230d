// w = f.x * q + f.y: q u4 [P]; the encoding says the factors f of a chunk. A word's low nibbles of bytes are even columns.
const ORDER = 2u;

struct Packed {
    q: vec4<u32>,
    factors: vec2<f32>,
}

fn packed32(row: u32, chunk: u32) -> Packed {
    return Packed(weights_at(row + chunk), factors(row, chunk));
}

fn add_packed(w: Packed, x: Inputs, sum: f32) -> f32 {
    const LOW = vec4<u32>(0x0f0f0f0fu);
    let products = dot16(w.q & LOW, x.a) + dot16((w.q >> vec4<u32>(4u)) & LOW, x.b);
    return fma(w.factors.y, x.factors.y, fma(w.factors.x * x.factors.x, f32(products), sum));
}
