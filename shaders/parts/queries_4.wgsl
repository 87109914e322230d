// Attention serves four queries at a time: each key and each value is loaded once for all of them.
const QUERIES = 4u;
alias PerQuery = vec4<f32>;

struct Sums {
    a: Wide,
    b: Wide,
    c: Wide,
    d: Wide,
}

fn add(factor: PerQuery, x: Wide, s: Sums) -> Sums {
    return Sums(
        fma(Wide(factor.x), x, s.a),
        fma(Wide(factor.y), x, s.b),
        fma(Wide(factor.z), x, s.c),
        fma(Wide(factor.w), x, s.d),
    );
}

fn add_weighted(weight: PerQuery, x: Wide, s: Sums) -> Sums {
    return Sums(
        select(fma(Wide(weight.x), x, s.a), s.a, weight.x == 0.0),
        select(fma(Wide(weight.y), x, s.b), s.b, weight.y == 0.0),
        select(fma(Wide(weight.z), x, s.c), s.c, weight.z == 0.0),
        select(fma(Wide(weight.w), x, s.d), s.d, weight.w == 0.0),
    );
}

fn scaled(s: Sums, by: PerQuery) -> Sums {
    return Sums(s.a * by.x, s.b * by.y, s.c * by.z, s.d * by.w);
}

fn bend(s: Sums, j: u32) -> Sums {
    return Sums(bent(s.a, 0u, j), bent(s.b, 1u, j), bent(s.c, 2u, j), bent(s.d, 3u, j));
}

fn of_neighbour(s: Sums, n: u32) -> PerQuery {
    return PerQuery(neighbour(s.a, n), neighbour(s.b, n), neighbour(s.c, n), neighbour(s.d, n));
}

fn load_query(i: u32) -> PerQuery {
    return PerQuery(query_value(0u, i), query_value(1u, i), query_value(2u, i), query_value(3u, i));
}

fn load_sinks() -> PerQuery {
    return PerQuery(sink(0u), sink(1u), sink(2u), sink(3u));
}

fn load_top() -> PerQuery {
    return PerQuery(state[state_at(0u)].x, state[state_at(1u)].x, state[state_at(2u)].x, state[state_at(3u)].x);
}

fn load_total() -> PerQuery {
    return PerQuery(state[state_at(0u)].y, state[state_at(1u)].y, state[state_at(2u)].y, state[state_at(3u)].y);
}

fn store_state(top: PerQuery, total: PerQuery) {
    state[state_at(0u)] = vec2<f32>(top.x, total.x);
    state[state_at(1u)] = vec2<f32>(top.y, total.y);
    state[state_at(2u)] = vec2<f32>(top.z, total.z);
    state[state_at(3u)] = vec2<f32>(top.w, total.w);
}

fn load_sums(column: u32) -> Sums {
    return Sums(
        load_columns(queries[0].output_at + column),
        load_columns(queries[1].output_at + column),
        load_columns(queries[2].output_at + column),
        load_columns(queries[3].output_at + column),
    );
}

fn store_sums(column: u32, s: Sums) {
    store_columns(queries[0].output_at, column, s.a);
    store_columns(queries[1].output_at, column, s.b);
    store_columns(queries[2].output_at, column, s.c);
    store_columns(queries[3].output_at, column, s.d);
}
