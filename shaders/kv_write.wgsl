// Writes the keys and values of each row to the page of its position.
//
// input [rows, stride] f32, a row's key and value from key_first and value_first on; row_meta [rows] (position, start
// in pages, -, -); pages: page numbers of each sequence; cache: words of one segment of this layer.
// Grid: one invocation a word, folded over x and y. CPU twin: reference::kv_write.
struct Params {
    rows: u32,
    key_width: u32,
    value_width: u32,
    stride: u32,
    key_first: u32,
    value_first: u32,
    segment_first_page: u32,
    segment_pages: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> row_meta: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> pages: array<u32>;
@group(0) @binding(4) var<storage, read_write> cache: array<u32>;

@compute @workgroup_size(64)
fn kv_write(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let per_row = (params.key_width + params.value_width) / KV_VALUES_PER_WORD;
    let row = index / per_row;
    if row >= params.rows {
        return;
    }
    let position = row_meta[row].x;
    let page = pages[row_meta[row].y + position / PAGE_TOKENS];
    let column = (index % per_row) * KV_VALUES_PER_WORD;
    let is_key = column < params.key_width;
    let start = page_start(page, select(1u, 0u, is_key));
    if start == OTHER_SEGMENT {
        return;
    }
    var at = start + (position % PAGE_TOKENS) * params.key_width + column;
    var from_at = row * params.stride + params.key_first + column;
    if !is_key {
        let inside = column - params.key_width;
        at = start + (position % PAGE_TOKENS) * params.value_width + inside;
        from_at = row * params.stride + params.value_first + inside;
    }
    cache[at / KV_VALUES_PER_WORD] = kv_word(vec2<f32>(input[from_at], input[from_at + KV_VALUES_PER_WORD - 1u]));
}
