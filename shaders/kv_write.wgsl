// Writes the keys and values of each row to the page of its position. Keys are rotated on their way, and the queries where
// they are: pairs (i, i + pairs) of each head, by angles whose cos and sin are given,
// (a, b) -> (a cos - b sin, b cos + a sin)
//
// values [rows, stride] f32: `heads` heads of queries at the front of a row, its key and value from key_first and
// value_first on; angles [rows, angles_stride] f32: from angles_offset on cos, then sin; row_meta [rows] (position, start
// in pages, -, -); pages: page numbers of each sequence; cache: words of one segment of this layer. With 0 pairs nothing
// is rotated; with 0 heads no queries are (those of other segments).
// Grid: one invocation a pair of a query, then one a word, folded over x and y. CPU twin of what rotates: reference::rope.
struct Params {
    rows: u32,
    key_width: u32,
    value_width: u32,
    stride: u32,
    key_first: u32,
    value_first: u32,
    segment_first_page: u32,
    segment_pages: u32,
    heads: u32,
    head_dim: u32,
    pairs: u32,
    angles_stride: u32,
    angles_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> values: array<f32>;
@group(0) @binding(2) var<storage, read> angles: array<f32>;
@group(0) @binding(3) var<storage, read> row_meta: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> pages: array<u32>;
@group(0) @binding(5) var<storage, read_write> cache: array<u32>;

// (cos, sin) of a pair.
fn angle(row: u32, pair: u32) -> vec2<f32> {
    let at = row * params.angles_stride + params.angles_offset + pair;
    return vec2<f32>(angles[at], angles[at + params.pairs]);
}

fn turn_query(row: u32, index: u32) {
    let pair = index % params.pairs;
    let turn = angle(row, pair);
    let at = row * params.stride + index / params.pairs * params.head_dim + pair;
    let a = values[at];
    let b = values[at + params.pairs];
    values[at] = a * turn.x - b * turn.y;
    values[at + params.pairs] = b * turn.x + a * turn.y;
}

// A value of a key, rotated where it is one of those that are.
fn key_value(row: u32, column: u32) -> f32 {
    let at = row * params.stride + params.key_first + column;
    let value = values[at];
    if params.pairs == 0u {
        return value;
    }
    let inside = column % params.head_dim;
    if inside < params.pairs {
        let turn = angle(row, inside);
        return value * turn.x - values[at + params.pairs] * turn.y;
    }
    if inside < 2u * params.pairs {
        let turn = angle(row, inside - params.pairs);
        return value * turn.x + values[at - params.pairs] * turn.y;
    }
    return value;
}

@compute @workgroup_size(64)
fn kv_write(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let queries = params.heads * params.pairs;
    let per_row = queries + (params.key_width + params.value_width) / KV_VALUES_PER_WORD;
    let row = index / per_row;
    if row >= params.rows {
        return;
    }
    let of_row = index % per_row;
    if of_row < queries {
        turn_query(row, of_row);
        return;
    }
    let position = row_meta[row].x;
    let start = page_start(pages[row_meta[row].y + position / PAGE_TOKENS], 0u);
    if start == OTHER_SEGMENT {
        return;
    }
    let column = (of_row - queries) * KV_VALUES_PER_WORD;
    let second = KV_VALUES_PER_WORD - 1u;
    var at = start + (position % PAGE_TOKENS) * params.key_width + column;
    var pair = vec2<f32>(0.0, 0.0);
    if column < params.key_width {
        pair = vec2<f32>(key_value(row, column), key_value(row, column + second));
    } else {
        let inside = column - params.key_width;
        let from_at = row * params.stride + params.value_first + inside;
        at = start + PAGE_TOKENS * params.key_width + (position % PAGE_TOKENS) * params.value_width + inside;
        pair = vec2<f32>(values[from_at], values[from_at + second]);
    }
    cache[at / KV_VALUES_PER_WORD] = kv_word(pair);
}
