// w = d * sc * (q - 32): low u4 [P], high u2 [P] in plane 1, sc i8 [P/16] in plane 2, d f16 [P/256] in plane 3. A word's low
// nibbles of bytes are even columns.
const ORDER = 2u;

struct Packed {
    even: vec4<u32>,
    odd: vec4<u32>,
    scales: vec2<f32>,
}

// Every other pair of bits of sixteen, each as bits 4 and 5 of a byte.
fn spread(bits: u32) -> u32 {
    let pairs = bits & 0x3333u;
    let apart = (pairs | (pairs << 8u)) & 0x00ff00ffu;
    return ((apart | (apart << 4u)) & 0x0f0f0f0fu) << 4u;
}

fn packed32(row: u32, chunk: u32) -> Packed {
    const LOW = vec4<u32>(0x0f0f0f0fu);
    let q = weights_at(row + chunk);
    let at = (row + params.plane1) * 4u + chunk * 2u;
    let h = vec2<u32>(weights1[at], weights1[at + 1u]);
    let even = vec4<u32>(spread(h.x), spread(h.x >> 16u), spread(h.y), spread(h.y >> 16u));
    let odd = vec4<u32>(spread(h.x >> 2u), spread(h.x >> 18u), spread(h.y >> 2u), spread(h.y >> 18u));
    let pair = weights1[(row + params.plane2) * 4u + chunk / 2u] >> ((chunk % 2u) * 16u);
    let sc = bitcast<vec2<i32>>(vec2<u32>(pair << 24u, pair << 16u)) >> vec2<u32>(24u);
    let scales = half_at(row + params.plane3, chunk / 8u) * vec2<f32>(sc);
    return Packed((q & LOW) | even, ((q >> vec4<u32>(4u)) & LOW) | odd, scales);
}

fn dot8(a: vec2<u32>, b: vec2<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y);
}

fn add_packed(w: Packed, x: Inputs, sum: f32) -> f32 {
    let first = dot8(w.even.xy, x.a.xy) + dot8(w.odd.xy, x.b.xy);
    let second = dot8(w.even.zw, x.a.zw) + dot8(w.odd.zw, x.b.zw);
    var s = fma(w.scales.x * x.factors.x, f32(first), sum);
    s = fma(w.scales.x * -32.0, x.factors.z, s);
    s = fma(w.scales.y * x.factors.x, f32(second), s);
    return fma(w.scales.y * -32.0, x.factors.w, s);
}
