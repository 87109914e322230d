// The KV cache holds f32.
const KV_VALUES_PER_WORD = 1u;

fn kv_value(index: u32) -> f32 {
    return bitcast<f32>(cache[index]);
}

// The values at an even index and after it.
fn kv_pair(index: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(cache[index]), bitcast<f32>(cache[index + 1u]));
}

fn kv_word(key_or_value: vec2<f32>) -> u32 {
    return bitcast<u32>(key_or_value.x);
}
