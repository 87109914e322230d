// The KV cache holds f16, two values a word.
const KV_VALUES_PER_WORD = 2u;

fn kv_value(index: u32) -> f32 {
    let pair = unpack2x16float(cache[index / 2u]);
    return select(pair.x, pair.y, (index & 1u) == 1u);
}

// The values at an even index and after it.
fn kv_pair(index: u32) -> vec2<f32> {
    return unpack2x16float(cache[index / 2u]);
}

fn kv_word(key_or_value: vec2<f32>) -> u32 {
    return pack2x16float(key_or_value);
}
