// w = scale * ±magnitude: an entry of the grid has four levels of four bits; the encoding says which entries and signs a chunk
// has, its scale, and what a level stands for.
struct Fields {
    // Of four columns each.
    first: vec4<u32>,
    second: vec4<u32>,
    // One bit a column.
    signs: u32,
    scale: f32,
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let f = fields(row, chunk);
    let a = grid_entries(f.first);
    let b = grid_entries(f.second);
    w[0] = f.scale * with_single_signs(magnitudes(nibbles(a.x, 0u)), f.signs, 0u);
    w[1] = f.scale * with_single_signs(magnitudes(nibbles(a.y, 0u)), f.signs, 4u);
    w[2] = f.scale * with_single_signs(magnitudes(nibbles(a.z, 0u)), f.signs, 8u);
    w[3] = f.scale * with_single_signs(magnitudes(nibbles(a.w, 0u)), f.signs, 12u);
    w[4] = f.scale * with_single_signs(magnitudes(nibbles(b.x, 0u)), f.signs, 16u);
    w[5] = f.scale * with_single_signs(magnitudes(nibbles(b.y, 0u)), f.signs, 20u);
    w[6] = f.scale * with_single_signs(magnitudes(nibbles(b.z, 0u)), f.signs, 24u);
    w[7] = f.scale * with_single_signs(magnitudes(nibbles(b.w, 0u)), f.signs, 28u);
    return w;
}
