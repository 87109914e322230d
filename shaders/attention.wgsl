// output[r, h] = sum_j softmax_j(score(r, h, j)) v[j], over the positions j that row r sees:
// max(0, position + 1 - window) <= j <= position (window 0: from 0 on); with CHUNKS from the last multiple of window on
//
// score = scale * q[r, h] . k[j]; where softcap is above 0, softcap * tanh(score / softcap); with ALIBI plus
// slope(h) * (j - position). With SINKS the softmax has one term more, exp(vectors[sinks_offset + h]), which no value
// belongs to.
//
// query [rows, query_stride], output [rows, output_stride] f32, heads of head_dim (value_dim in output) values next to each other; query head
// h uses key head h / (heads / kv_heads); cache: one segment of pages of this layer (see parts/kv_pages.wgsl).
// An online softmax goes over pages in order of position. Over several segments its state travels: `state` [rows,
// heads] (maximum, sum), and the weighted values in `output`. Grid: x heads, y rows. CPU twin: reference::attention.
struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    value_dim: u32,
    key_width: u32,
    value_width: u32,
    scale: f32,
    window: u32,
    query_stride: u32,
    output_stride: u32,
    segment_first_page: u32,
    segment_pages: u32,
    softcap: f32,
    sinks_offset: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<f32>;
@group(0) @binding(2) var<storage, read> row_meta: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> pages: array<u32>;
@group(0) @binding(4) var<storage, read> cache: array<u32>;
@group(0) @binding(5) var<storage, read> vectors: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;
@group(0) @binding(7) var<storage, read_write> state: array<vec2<f32>>;

const FIRST_SEGMENT = 1u;
const LAST_SEGMENT = 2u;
const SINKS = 4u;
const ALIBI = 8u;
const CHUNKS = 16u;
const MOST_HEAD_DIM = 512u;
// Below every score, and finite: the difference of two infinities is not a number.
const NO_SCORE = -3.0e38;

var<workgroup> head_query: array<f32, MOST_HEAD_DIM>;
var<workgroup> weighted: array<f32, MOST_HEAD_DIM>;
var<workgroup> scores: array<f32, PAGE_TOKENS>;

// The slopes of ALiBi (Press et al. 2022): a geometric series for a power of two of heads, and for more heads every
// other term of the series for twice as many.
fn slope(head: u32) -> f32 {
    let power = 1u << firstLeadingBit(params.heads);
    if head < power {
        return exp2(-8.0 * f32(head + 1u) / f32(power));
    }
    return exp2(-4.0 * f32(2u * (head - power) + 1u) / f32(power));
}

@compute @workgroup_size(LANES)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let position = row_meta[row].x;
    let table = row_meta[row].y;
    let query_at = row * params.query_stride + head * params.head_dim;
    let output_at = row * params.output_stride + head * params.value_dim;
    let state_at = row * params.heads + head;
    let kv_head = head / (params.heads / params.kv_heads);
    var top = NO_SCORE;
    var total = 0.0;
    let first_segment = (params.flags & FIRST_SEGMENT) != 0u;
    if !first_segment {
        top = state[state_at].x;
        total = state[state_at].y;
    }
    for (var i = lane; i < params.head_dim; i += LANES) {
        head_query[i] = query[query_at + i] * params.scale;
    }
    for (var i = lane; i < params.value_dim; i += LANES) {
        weighted[i] = 0.0;
        if !first_segment {
            weighted[i] = output[output_at + i];
        }
    }
    var first = 0u;
    if (params.flags & CHUNKS) != 0u {
        first = position - position % max(params.window, 1u);
    } else if params.window > 0u && position + 1u > params.window {
        first = position + 1u - params.window;
    }
    workgroupBarrier();
    for (var page = first / PAGE_TOKENS; page <= position / PAGE_TOKENS; page++) {
        let keys = page_start(pages[table + page], 0u);
        if keys == OTHER_SEGMENT {
            continue;
        }
        let values = page_start(pages[table + page], 1u);
        for (var k = lane; k < PAGE_TOKENS; k += LANES) {
            let j = page * PAGE_TOKENS + k;
            var score = NO_SCORE;
            if j >= first && j <= position {
                score = 0.0;
                let at = keys + k * params.key_width + kv_head * params.head_dim;
                for (var i = 0u; i < params.head_dim; i++) {
                    score = fma(head_query[i], kv_value(at + i), score);
                }
                if params.softcap > 0.0 {
                    // Beyond the bound tanh is 1 to the last bit, and some drivers' own overflows.
                    score = params.softcap * tanh(clamp(score / params.softcap, -15.0, 15.0));
                }
                if (params.flags & ALIBI) != 0u {
                    score = score - slope(head) * f32(position - j);
                }
            }
            scores[k] = score;
        }
        workgroupBarrier();
        let k_first = max(first, page * PAGE_TOKENS) - page * PAGE_TOKENS;
        let k_last = min(position - page * PAGE_TOKENS, PAGE_TOKENS - 1u);
        var page_top = top;
        for (var k = k_first; k <= k_last; k++) {
            page_top = max(page_top, scores[k]);
        }
        let fade = exp(top - page_top);
        top = page_top;
        workgroupBarrier();
        for (var k = lane; k < PAGE_TOKENS; k += LANES) {
            scores[k] = exp(scores[k] - top);
        }
        workgroupBarrier();
        total = total * fade;
        for (var k = k_first; k <= k_last; k++) {
            total = total + scores[k];
        }
        for (var i = lane; i < params.value_dim; i += LANES) {
            let at = values + kv_head * params.value_dim + i;
            var sum = weighted[i] * fade;
            for (var k = k_first; k <= k_last; k++) {
                sum = fma(scores[k], kv_value(at + k * params.value_width), sum);
            }
            weighted[i] = sum;
        }
        workgroupBarrier();
    }
    var norm = 1.0;
    if (params.flags & LAST_SEGMENT) != 0u {
        if (params.flags & SINKS) != 0u {
            let sink = vectors[params.sinks_offset + head];
            let last_top = max(top, sink);
            norm = exp(top - last_top);
            total = total * norm + exp(sink - last_top);
        }
        norm = norm / total;
    } else if lane == 0u {
        state[state_at] = vec2<f32>(top, total);
    }
    for (var i = lane; i < params.value_dim; i += LANES) {
        output[output_at + i] = weighted[i] * norm;
    }
}
