// Attention serves one query at a time.
const QUERIES = 1u;
alias PerQuery = f32;

struct Sums {
    a: Wide,
}

fn add(factor: PerQuery, x: Wide, s: Sums) -> Sums {
    return Sums(fma(Wide(factor), x, s.a));
}

fn add_weighted(weight: PerQuery, x: Wide, s: Sums) -> Sums {
    return Sums(select(fma(Wide(weight), x, s.a), s.a, weight == 0.0));
}

fn scaled(s: Sums, by: PerQuery) -> Sums {
    return Sums(s.a * by);
}

fn bend(s: Sums, j: u32) -> Sums {
    return Sums(bent(s.a, 0u, j));
}

fn of_neighbour(s: Sums, n: u32) -> PerQuery {
    return neighbour(s.a, n);
}

fn load_query(i: u32) -> PerQuery {
    return query_value(0u, i);
}

fn load_sinks() -> PerQuery {
    return sink(0u);
}

fn load_top() -> PerQuery {
    return state[state_at(0u)].x;
}

fn load_total() -> PerQuery {
    return state[state_at(0u)].y;
}

fn store_state(top: PerQuery, total: PerQuery) {
    state[state_at(0u)] = vec2<f32>(top, total);
}

fn load_sums(column: u32) -> Sums {
    return Sums(load_columns(queries[0].output_at + column));
}

fn store_sums(column: u32, s: Sums) {
    store_columns(queries[0].output_at, column, s.a);
}
