// One row at once, for inputs of eight bits: the sum of a strand is one number.
alias Sums = Totals;

struct Weights {
    a: Packed,
}

fn weights_of(row: u32, chunk: u32) -> Weights {
    return Weights(
        packed32(row_base(row), chunk),
    );
}

fn add_chunk(w: Weights, at: u32, sums: Sums) -> Sums {
    let x = inputs_at(at);
    var s = sums;
    s = add_packed(w.a, x, s);
    return s;
}

// Row by row: a row's weights are used up before the next row's are unpacked.
fn add_rows(row: u32, chunk: u32, x: Inputs, sums: Sums) -> Sums {
    var s = sums;
    s = add_packed(packed32(row_base(row), chunk), x, s);
    return s;
}

fn totals(s: Sums) -> Totals {
    return s;
}
