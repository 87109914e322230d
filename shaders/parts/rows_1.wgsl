// One row for each invocation (or for each group of lanes).

// Partial sums of the rows for one token.
struct Sums {
    a: vec4<f32>,
}

// Weights of the rows for one chunk.
struct Weights {
    a: array<vec4<f32>, 8>,
}

fn weights_of(row: u32, chunk: u32) -> Weights {
    return Weights(decode32(row_base(row), chunk));
}

fn add_column(x: vec4<f32>, a: vec4<f32>, s: Sums) -> Sums {
    return Sums(fma(a, x, s.a));
}

// Column by column, four at a time, for one of many tokens.
fn add_chunk(w: Weights, at: u32, sums: Sums) -> Sums {
    var s = add_column(input_at(at), w.a[0], sums);
    s = add_column(input_at(at + 1u), w.a[1], s);
    s = add_column(input_at(at + 2u), w.a[2], s);
    s = add_column(input_at(at + 3u), w.a[3], s);
    s = add_column(input_at(at + 4u), w.a[4], s);
    s = add_column(input_at(at + 5u), w.a[5], s);
    s = add_column(input_at(at + 6u), w.a[6], s);
    return add_column(input_at(at + 7u), w.a[7], s);
}

// Row by row, for one token: a row's weights are used up before the next row's are decoded.
fn add_rows(row: u32, chunk: u32, x: Inputs, sums: Sums) -> Sums {
    var s = sums;
    s.a = add_row(row, chunk, x, s.a);
    return s;
}

fn totals(s: Sums) -> Totals {
    return total(s.a);
}
