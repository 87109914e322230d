// An invocation has one key at a time, or one column of a value: neighbours load neighbouring columns together.
const WIDE = 1u;
alias Wide = f32;
alias WideIndex = u32;

struct KeyPairs {
    a: Wide,
    b: Wide,
}

fn neighbours(j: u32) -> WideIndex {
    return j;
}

fn neighbour(x: Wide, n: u32) -> f32 {
    return x;
}

// Two values of the key at `at`.
fn key_pairs(at: u32, width: u32) -> KeyPairs {
    let pair = kv_pair(at);
    return KeyPairs(pair.x, pair.y);
}

fn value_columns(at: u32) -> Wide {
    return kv_value(at);
}

fn load_columns(at: u32) -> Wide {
    return output[at];
}

fn store_columns(at: u32, column: u32, x: Wide) {
    output[at + column] = x;
}
