// w = scale * q: q i8 [P], in natural order; the encoding says its scale.
const ORDER = 0u;

struct Packed {
    a: vec4<u32>,
    b: vec4<u32>,
    scale: f32,
}

fn packed32(row: u32, chunk: u32) -> Packed {
    return Packed(weights_at(row + chunk * 2u), weights_at(row + chunk * 2u + 1u), scale(row, chunk));
}

fn add_packed(w: Packed, x: Inputs, sum: f32) -> f32 {
    return fma(w.scale * x.factors.x, f32(dot16(w.a, x.a) + dot16(w.b, x.b)), sum);
}
