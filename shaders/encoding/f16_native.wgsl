// Plain f16, loaded as values of shader-f16: used where a search finds that faster, and every bit the same.
@group(0) @binding(2) var<storage, read> weights_f16: array<vec4<f16>>;

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let at = (row + chunk * 4u) * 2u;
    w[0] = vec4<f32>(weights_f16[at]);
    w[1] = vec4<f32>(weights_f16[at + 1u]);
    w[2] = vec4<f32>(weights_f16[at + 2u]);
    w[3] = vec4<f32>(weights_f16[at + 3u]);
    w[4] = vec4<f32>(weights_f16[at + 4u]);
    w[5] = vec4<f32>(weights_f16[at + 5u]);
    w[6] = vec4<f32>(weights_f16[at + 6u]);
    w[7] = vec4<f32>(weights_f16[at + 7u]);
    return w;
}
