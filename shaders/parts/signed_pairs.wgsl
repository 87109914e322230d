// w = scale * ±magnitude: an entry of the grid has eight levels of two bits, which stand for 8, 25 and 43; the encoding says
// which entries, signs and scales a chunk has.
struct Fields {
    // Of eight columns each.
    indices: vec4<u32>,
    // One bit a column.
    signs: u32,
    // Of sixteen columns each.
    scales: vec2<f32>,
}

fn magnitudes(entry: u32, shift: u32) -> vec4<f32> {
    let level = bit_pairs(entry, shift);
    return vec4<f32>(level * 17u + (level >> vec4<u32>(1u)) + 8u);
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let f = fields(row, chunk);
    let e = grid_entries(f.indices);
    w[0] = f.scales.x * with_single_signs(magnitudes(e.x, 0u), f.signs, 0u);
    w[1] = f.scales.x * with_single_signs(magnitudes(e.x, 8u), f.signs, 4u);
    w[2] = f.scales.x * with_single_signs(magnitudes(e.y, 0u), f.signs, 8u);
    w[3] = f.scales.x * with_single_signs(magnitudes(e.y, 8u), f.signs, 12u);
    w[4] = f.scales.y * with_single_signs(magnitudes(e.z, 0u), f.signs, 16u);
    w[5] = f.scales.y * with_single_signs(magnitudes(e.z, 8u), f.signs, 20u);
    w[6] = f.scales.y * with_single_signs(magnitudes(e.w, 0u), f.signs, 24u);
    w[7] = f.scales.y * with_single_signs(magnitudes(e.w, 8u), f.signs, 28u);
    return w;
}
