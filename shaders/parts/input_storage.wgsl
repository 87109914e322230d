// The input of a product in a storage buffer: of any length.
@group(0) @binding(3) var<storage, read> input: array<Sixteen>;

fn input_words(at: u32) -> vec4<u32> {
    return words(input[at]);
}
