// output[r, h] = sum_j softmax_j(score(r, h, j)) v[j], over the positions j that row r sees:
// max(0, position + 1 - window) <= j <= position (window 0: from 0 on); with CHUNKS from the last multiple of window on
//
// score = scale * q[r, h] . k[j]; where softcap is above 0, softcap * tanh(score / softcap); with ALIBI plus
// slope(h) * (j - position). With SINKS the softmax has one term more, exp(vectors[sinks_offset + h]), which no value
// belongs to. With VALUES_IN_KEYS v[j] is the front of k[j], and values are not stored.
//
// query [rows, query_stride] f32, heads of head_dim values next to each other; output [rows, output_stride] f32, value_dim
// values of each head, output_group values from one head's first to the next one's; query head h uses key head
// h / (heads / kv_heads); cache: one segment of pages of this layer (see parts/kv_pages.wgsl).
// An online softmax goes over pages in order of position, those from begin_page to end_page of each sequence in a dispatch.
// From one dispatch to the next its state travels: `state` [rows, heads] (maximum, sum); the weighted values lie in
// `output`. FIRST starts it, LAST ends it. CPU twin: reference::attention.
//
// A workgroup serves QUERIES pairs of a row and a head (part queries_*) that read the same keys: up to QUERIES rows of a
// sequence, from a position that is a multiple of QUERIES on, times the heads of a key head, form a block. An invocation
// loads WIDE keys, or columns of a value, at a time (part wide_*). Each sum has one order, position after position,
// whatever else is in the block: a position that a query does not see has the weight 0, and what has the weight 0 is
// not added.
// Grid: x heads, y rows; blocks are computed where their first row is, and what has nothing to do returns.
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
    output_group: u32,
    begin_page: u32,
    end_page: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<f32>;
@group(0) @binding(2) var<storage, read> row_meta: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> pages: array<u32>;
@group(0) @binding(4) var<storage, read> cache: array<u32>;
@group(0) @binding(5) var<storage, read> vectors: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;
@group(0) @binding(7) var<storage, read_write> state: array<vec2<f32>>;

const FIRST = 1u;
const LAST = 2u;
const SINKS = 4u;
const ALIBI = 8u;
const CHUNKS = 16u;
const VALUES_IN_KEYS = 32u;
const MOST_HEAD_DIM = 576u;
// Below every score, and finite: the difference of two infinities is not a number.
const NO_SCORE = -3.0e38;

// A row and a head, the first and the last position that they see, and where their values lie.
struct Query {
    row: u32,
    head: u32,
    first: u32,
    position: u32,
    output_at: u32,
}

var<workgroup> queries: array<Query, QUERIES>;
var<workgroup> query_values: array<PerQuery, MOST_HEAD_DIM>;
// Scores of a page, then weights.
var<workgroup> weights: array<PerQuery, PAGE_TOKENS>;
var<workgroup> tops: array<PerQuery, PAGE_TOKENS / WIDE>;

// The slopes of ALiBi (Press et al. 2022): a geometric series for a power of two of heads, and for more heads every
// other term of the series for twice as many.
fn slope(head: u32) -> f32 {
    let power = 1u << firstLeadingBit(params.heads);
    if head < power {
        return exp2(-8.0 * f32(head + 1u) / f32(power));
    }
    return exp2(-4.0 * f32(2u * (head - power) + 1u) / f32(power));
}

// The first position that a row at `position` sees.
fn first_seen(position: u32) -> u32 {
    if (params.flags & CHUNKS) != 0u {
        return position - position % max(params.window, 1u);
    }
    return select(0u, position + 1u - params.window, params.window > 0u && position + 1u > params.window);
}

// Whether `row` goes on where the row before it stops.
fn follows(row: u32) -> bool {
    let here = row_meta[row];
    let before = row_meta[row - 1u];
    return here.y == before.y && here.x == before.x + 1u && here.x % QUERIES != 0u;
}

// How many rows the block has that begins at `row`; none where `row` is inside of one.
fn block_rows(row: u32) -> u32 {
    if row > 0u && follows(row) {
        return 0u;
    }
    var count = 1u;
    while row + count < params.rows && follows(row + count) {
        count++;
    }
    return count;
}

fn state_at(n: u32) -> u32 {
    return queries[n].row * params.heads + queries[n].head;
}

fn query_value(n: u32, i: u32) -> f32 {
    return query[queries[n].row * params.query_stride + queries[n].head * params.head_dim + i] * params.scale;
}

fn sink(n: u32) -> f32 {
    return vectors[params.sinks_offset + queries[n].head];
}

// Scores of query `n` and the positions from `j` on, of which `products` holds the products.
fn bent(products: Wide, n: u32, j: u32) -> Wide {
    let positions = neighbours(j);
    var score = products;
    if params.softcap > 0.0 {
        // Beyond the bound tanh is 1 to the last bit, and some drivers' own overflows.
        score = params.softcap * tanh(clamp(score / params.softcap, Wide(-15.0), Wide(15.0)));
    }
    if (params.flags & ALIBI) != 0u {
        score = fma(Wide(-slope(queries[n].head)), Wide(WideIndex(queries[n].position) - positions), score);
    }
    let hidden = (positions < WideIndex(queries[n].first)) | (positions > WideIndex(queries[n].position));
    return select(score, Wide(NO_SCORE), hidden);
}

// Scores of a page, whose first position is `j` and whose keys begin at `keys`, and the largest of each WIDE positions.
fn score_page(lane: u32, j: u32, keys: u32) {
    for (var item = lane; item < PAGE_TOKENS / WIDE; item += LANES) {
        let k = item * WIDE;
        let at = keys + k * params.key_width;
        // Some drivers do not make a variable zero again where a loop declares it without a value.
        var products = Sums();
        for (var i = 0u; i < params.head_dim; i += 2u) {
            let pair = key_pairs(at + i, params.key_width);
            products = add(query_values[i], pair.a, products);
            products = add(query_values[i + 1u], pair.b, products);
        }
        let scores = bend(products, j + k);
        var top = PerQuery(NO_SCORE);
        for (var n = 0u; n < WIDE; n++) {
            let score = of_neighbour(scores, n);
            weights[k + n] = score;
            top = max(top, score);
        }
        tops[item] = top;
    }
}

@compute @workgroup_size(LANES)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let sharing = params.heads / params.kv_heads;
    let kv_head = group.x / sharing;
    let begin = group.x % sharing * QUERIES;
    let end = block_rows(row) * sharing;
    if begin >= end {
        return;
    }
    let last = min(begin + QUERIES, end) - 1u;
    // What the first row sees begins first, and what the last row sees ends last.
    let first = first_seen(row_meta[row + begin / sharing].x);
    let position = row_meta[row + last / sharing].x;
    let table = row_meta[row].y;
    for (var n = lane; n < QUERIES; n += LANES) {
        // Where there are fewer, the last one is computed several times.
        let index = min(begin + n, last);
        let of_row = row + index / sharing;
        let head = kv_head * sharing + index % sharing;
        let sees_to = row_meta[of_row].x;
        let output_at = of_row * params.output_stride + head * params.output_group;
        queries[n] = Query(of_row, head, first_seen(sees_to), sees_to, output_at);
    }
    workgroupBarrier();
    for (var i = lane; i < params.head_dim; i += LANES) {
        query_values[i] = load_query(i);
    }
    // Where the head's values lie in a row of values, and how long such a row is.
    let values_in_keys = (params.flags & VALUES_IN_KEYS) != 0u;
    let value_at = kv_head * select(params.value_dim, params.head_dim, values_in_keys);
    let value_width = select(params.value_width, params.key_width, values_in_keys);
    var top = PerQuery(NO_SCORE);
    var total = PerQuery(0.0);
    if (params.flags & FIRST) != 0u {
        for (var i = lane * WIDE; i < params.value_dim; i += LANES * WIDE) {
            store_sums(i, Sums());
        }
    } else {
        top = load_top();
        total = load_total();
    }
    workgroupBarrier();
    let end_page = min(params.end_page, position / PAGE_TOKENS + 1u);
    for (var page = max(params.begin_page, first / PAGE_TOKENS); page < end_page; page++) {
        let keys = page_start(pages[table + page], 0u);
        if keys == OTHER_SEGMENT {
            continue;
        }
        let values = select(page_start(pages[table + page], 1u), keys, values_in_keys) + value_at;
        score_page(lane, page * PAGE_TOKENS, keys + kv_head * params.head_dim);
        workgroupBarrier();
        var page_top = top;
        for (var item = 0u; item < PAGE_TOKENS / WIDE; item++) {
            page_top = max(page_top, tops[item]);
        }
        let fade = exp(top - page_top);
        top = page_top;
        for (var k = lane; k < PAGE_TOKENS; k += LANES) {
            let score = weights[k];
            weights[k] = select(exp(score - top), PerQuery(0.0), score <= PerQuery(NO_SCORE));
        }
        workgroupBarrier();
        let k_first = max(first, page * PAGE_TOKENS) - page * PAGE_TOKENS;
        let k_last = min(position - page * PAGE_TOKENS, PAGE_TOKENS - 1u);
        var page_total = total;
        for (var i = lane * WIDE; i < params.value_dim; i += LANES * WIDE) {
            var sums = scaled(load_sums(i), fade);
            // Every column has all weights at hand, so their sum is made along the way.
            page_total = total * fade;
            for (var k = k_first; k <= k_last; k++) {
                let weight = weights[k];
                page_total = page_total + weight;
                sums = add_weighted(weight, value_columns(values + i + k * value_width), sums);
            }
            store_sums(i, sums);
        }
        total = page_total;
        workgroupBarrier();
    }
    var norm = PerQuery(1.0);
    if (params.flags & LAST) != 0u {
        if (params.flags & SINKS) != 0u {
            let sinks = load_sinks();
            let last_top = max(top, sinks);
            norm = exp(top - last_top);
            total = fma(total, norm, exp(sinks - last_top));
        }
        norm = norm / total;
    } else if lane == 0u {
        store_state(top, total);
    }
    for (var i = lane * WIDE; i < params.value_dim; i += LANES * WIDE) {
        store_sums(i, scaled(load_sums(i), norm));
    }
}
