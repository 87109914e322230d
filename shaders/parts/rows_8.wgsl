// Eight rows at once: each input value is loaded once for all of them, and their sums stay in registers.

// Partial sums of the rows for one token.
struct Sums {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
    e: vec4<f32>,
    f: vec4<f32>,
    g: vec4<f32>,
    h: vec4<f32>,
}

// Weights of the rows for one chunk.
struct Weights {
    a: array<vec4<f32>, 8>,
    b: array<vec4<f32>, 8>,
    c: array<vec4<f32>, 8>,
    d: array<vec4<f32>, 8>,
    e: array<vec4<f32>, 8>,
    f: array<vec4<f32>, 8>,
    g: array<vec4<f32>, 8>,
    h: array<vec4<f32>, 8>,
}

fn weights_of(row: u32, chunk: u32) -> Weights {
    return Weights(
        decode32(row_base(row), chunk),
        decode32(row_base(row + 1u), chunk),
        decode32(row_base(row + 2u), chunk),
        decode32(row_base(row + 3u), chunk),
        decode32(row_base(row + 4u), chunk),
        decode32(row_base(row + 5u), chunk),
        decode32(row_base(row + 6u), chunk),
        decode32(row_base(row + 7u), chunk),
    );
}

fn add_column(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, e: vec4<f32>, f: vec4<f32>, g: vec4<f32>, h: vec4<f32>, s: Sums) -> Sums {
    return Sums(
        fma(a, x, s.a),
        fma(b, x, s.b),
        fma(c, x, s.c),
        fma(d, x, s.d),
        fma(e, x, s.e),
        fma(f, x, s.f),
        fma(g, x, s.g),
        fma(h, x, s.h),
    );
}

// Column by column, four at a time, for one of many tokens.
fn add_chunk(w: Weights, at: u32, sums: Sums) -> Sums {
    var s = add_column(input_at(at), w.a[0], w.b[0], w.c[0], w.d[0], w.e[0], w.f[0], w.g[0], w.h[0], sums);
    s = add_column(input_at(at + 1u), w.a[1], w.b[1], w.c[1], w.d[1], w.e[1], w.f[1], w.g[1], w.h[1], s);
    s = add_column(input_at(at + 2u), w.a[2], w.b[2], w.c[2], w.d[2], w.e[2], w.f[2], w.g[2], w.h[2], s);
    s = add_column(input_at(at + 3u), w.a[3], w.b[3], w.c[3], w.d[3], w.e[3], w.f[3], w.g[3], w.h[3], s);
    s = add_column(input_at(at + 4u), w.a[4], w.b[4], w.c[4], w.d[4], w.e[4], w.f[4], w.g[4], w.h[4], s);
    s = add_column(input_at(at + 5u), w.a[5], w.b[5], w.c[5], w.d[5], w.e[5], w.f[5], w.g[5], w.h[5], s);
    s = add_column(input_at(at + 6u), w.a[6], w.b[6], w.c[6], w.d[6], w.e[6], w.f[6], w.g[6], w.h[6], s);
    return add_column(input_at(at + 7u), w.a[7], w.b[7], w.c[7], w.d[7], w.e[7], w.f[7], w.g[7], w.h[7], s);
}

// Row by row, for one token: a row's weights are used up before the next row's are decoded.
fn add_rows(row: u32, chunk: u32, x: Inputs, sums: Sums) -> Sums {
    var s = sums;
    s.a = add_row(row, chunk, x, s.a);
    s.b = add_row(row + 1u, chunk, x, s.b);
    s.c = add_row(row + 2u, chunk, x, s.c);
    s.d = add_row(row + 3u, chunk, x, s.d);
    s.e = add_row(row + 4u, chunk, x, s.e);
    s.f = add_row(row + 5u, chunk, x, s.f);
    s.g = add_row(row + 6u, chunk, x, s.g);
    s.h = add_row(row + 7u, chunk, x, s.h);
    return s;
}

fn totals(s: Sums) -> Totals {
    return mat2x4<f32>(
        total(s.a), total(s.b), total(s.c), total(s.d),
        total(s.e), total(s.f), total(s.g), total(s.h),
    );
}
