// w = g * (e4m3(s) * fp4(q)): q u4 [P] (part `fp4_twice`), s u8 [P/16] in plane 1 (its sign counts for nothing, and 127 is
// zero), g f32 [1] in plane 2.

// Half of both scales of a chunk, for the numbers are twice what they should be. As in f8_e4m3.wgsl the exponent is brought up
// by an addition.
fn scales(row: u32, chunk: u32) -> vec2<f32> {
    let two = weights1[(row + params.plane1) * 4u + chunk / 2u] >> ((chunk % 2u) * 16u);
    let bytes = vec2<u32>(two, two >> 8u) & vec2<u32>(255u);
    let magnitude = (bytes & vec2<u32>(127u)) << vec2<u32>(20u);
    let raised = bitcast<vec2<f32>>(magnitude + vec2<u32>(120u << 23u));
    let value = select(raised, 2.0 * raised - 0.015625, magnitude < vec2<u32>(1u << 23u));
    return 0.5 * select(value, vec2<f32>(0.0), bytes == vec2<u32>(127u));
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let d = scales(row, chunk);
    let g = bitcast<f32>(weights1[(row + params.plane2) * 4u]);
    w[0] = g * (d.x * numbers(q.x, 0u));
    w[1] = g * (d.x * numbers(q.x, 16u));
    w[2] = g * (d.x * numbers(q.y, 0u));
    w[3] = g * (d.x * numbers(q.y, 16u));
    w[4] = g * (d.y * numbers(q.z, 0u));
    w[5] = g * (d.y * numbers(q.z, 16u));
    w[6] = g * (d.y * numbers(q.w, 0u));
    w[7] = g * (d.y * numbers(q.w, 16u));
    return w;
}
