// An invocation has four keys at a time, or four columns of a value, and so loads what it multiplies them with once.
const WIDE = 4u;
alias Wide = vec4<f32>;
alias WideIndex = vec4<u32>;

struct KeyPairs {
    a: Wide,
    b: Wide,
}

fn neighbours(j: u32) -> WideIndex {
    return WideIndex(j, j + 1u, j + 2u, j + 3u);
}

fn neighbour(x: Wide, n: u32) -> f32 {
    return x[n];
}

// Two values of each of the keys from `at` on.
fn key_pairs(at: u32, width: u32) -> KeyPairs {
    let p = kv_pair(at);
    let q = kv_pair(at + width);
    let r = kv_pair(at + 2u * width);
    let s = kv_pair(at + 3u * width);
    return KeyPairs(Wide(p.x, q.x, r.x, s.x), Wide(p.y, q.y, r.y, s.y));
}

fn value_columns(at: u32) -> Wide {
    return Wide(kv_pair(at), kv_pair(at + 2u));
}

// Past the end of a head come other values, which are not stored again.
fn load_columns(at: u32) -> Wide {
    return Wide(output[at], output[at + 1u], output[at + 2u], output[at + 3u]);
}

fn store_columns(at: u32, column: u32, x: Wide) {
    let left = params.value_dim - column;
    output[at + column] = x.x;
    if left > 1u {
        output[at + column + 1u] = x.y;
    }
    if left > 2u {
        output[at + column + 2u] = x.z;
    }
    if left > 3u {
        output[at + column + 3u] = x.w;
    }
}
