// The packed weights of a product.
@group(0) @binding(1) var<storage, read> weights4: array<Sixteen>;
// The same bytes again, for planes of single words.
@group(0) @binding(2) var<storage, read> weights1: array<u32>;

// The 16 bytes of weights at `at` (16-byte units).
fn weights_at(at: u32) -> vec4<u32> {
    return words(weights4[at]);
}
