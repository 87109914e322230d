// Every row of the matrix multiplies the whole input row.
fn input_part(row: u32) -> u32 {
    return 0u;
}
