// Four rows at once: each input value is loaded once for all of them, and their sums stay in registers.

// Partial sums of the rows for one token.
struct Sums {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Weights of the rows for one chunk.
struct Weights {
    a: array<vec4<f32>, 8>,
    b: array<vec4<f32>, 8>,
    c: array<vec4<f32>, 8>,
    d: array<vec4<f32>, 8>,
}

fn weights_of(row: u32, chunk: u32) -> Weights {
    return Weights(
        decode32(row_base(row), chunk),
        decode32(row_base(row + 1u), chunk),
        decode32(row_base(row + 2u), chunk),
        decode32(row_base(row + 3u), chunk),
    );
}

fn add_column(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, s: Sums) -> Sums {
    return Sums(
        fma(a, x, s.a),
        fma(b, x, s.b),
        fma(c, x, s.c),
        fma(d, x, s.d),
    );
}

// Column by column, four at a time, for one of many tokens.
fn add_chunk(w: Weights, at: u32, sums: Sums) -> Sums {
    var s = add_column(input_at(at), w.a[0], w.b[0], w.c[0], w.d[0], sums);
    s = add_column(input_at(at + 1u), w.a[1], w.b[1], w.c[1], w.d[1], s);
    s = add_column(input_at(at + 2u), w.a[2], w.b[2], w.c[2], w.d[2], s);
    s = add_column(input_at(at + 3u), w.a[3], w.b[3], w.c[3], w.d[3], s);
    s = add_column(input_at(at + 4u), w.a[4], w.b[4], w.c[4], w.d[4], s);
    s = add_column(input_at(at + 5u), w.a[5], w.b[5], w.c[5], w.d[5], s);
    s = add_column(input_at(at + 6u), w.a[6], w.b[6], w.c[6], w.d[6], s);
    return add_column(input_at(at + 7u), w.a[7], w.b[7], w.c[7], w.d[7], s);
}

// Row by row, for one token: a row's weights are used up before the next row's are decoded.
fn add_rows(row: u32, chunk: u32, x: Inputs, sums: Sums) -> Sums {
    var s = sums;
    s.a = add_row(row, chunk, x, s.a);
    s.b = add_row(row + 1u, chunk, x, s.b);
    s.c = add_row(row + 2u, chunk, x, s.c);
    s.d = add_row(row + 3u, chunk, x, s.d);
    return s;
}

fn totals(s: Sums) -> Totals {
    return vec4<f32>(total(s.a), total(s.b), total(s.c), total(s.d));
}
