// w = scale * (level + shift): an entry of the grid has eight levels of two bits, 0 to 2; the encoding says which entries,
// shifts and scales a chunk has.
struct Fields {
    // Of eight columns each.
    indices: vec4<u32>,
    shifts: vec4<f32>,
    // Of sixteen columns each.
    scales: vec2<f32>,
}

// Levels stand for -1, 0 and 1, and all of eight columns are an eighth more or less.
fn shifts(is_less: vec4<u32>) -> vec4<f32> {
    return select(vec4<f32>(-0.875), vec4<f32>(-1.125), (is_less & vec4<u32>(1u)) != vec4<u32>(0u));
}

fn levels(entry: u32, bit: u32) -> vec4<f32> {
    return vec4<f32>(bit_pairs(entry, bit));
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let f = fields(row, chunk);
    let e = grid_entries(f.indices);
    w[0] = f.scales.x * (levels(e.x, 0u) + f.shifts.x);
    w[1] = f.scales.x * (levels(e.x, 8u) + f.shifts.x);
    w[2] = f.scales.x * (levels(e.y, 0u) + f.shifts.y);
    w[3] = f.scales.x * (levels(e.y, 8u) + f.shifts.y);
    w[4] = f.scales.y * (levels(e.z, 0u) + f.shifts.z);
    w[5] = f.scales.y * (levels(e.z, 8u) + f.shifts.z);
    w[6] = f.scales.y * (levels(e.w, 0u) + f.shifts.w);
    w[7] = f.scales.y * (levels(e.w, 8u) + f.shifts.w);
    return w;
}
