// The rows of the matrix come in groups; each multiplies a part of the input row of its own.
fn input_part(row: u32) -> u32 {
    return row / params.group_rows * params.input_group;
}
