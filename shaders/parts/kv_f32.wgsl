// The KV cache holds f32.
const KV_VALUES_PER_WORD = 1u;

fn kv_value(index: u32) -> f32 {
    return bitcast<f32>(cache[index]);
}

fn kv_word(key_or_value: vec2<f32>) -> u32 {
    return bitcast<u32>(key_or_value.x);
}
