// The input of a product in a uniform buffer, of which every adapter shows 64 KiB: Mesa's llvmpipe loads from it without
// the detour through memory that it takes for storage buffers.
@group(0) @binding(3) var<uniform> input: array<vec4<u32>, UNIFORM_VECTORS>;

fn input_words(at: u32) -> vec4<u32> {
    return input[at];
}
