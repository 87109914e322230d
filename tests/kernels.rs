//! Every kernel against its CPU twin on the real adapter, at awkward sizes, with and without subgroups.

use tilestream::internals::gpu::Device;

#[path = "kernel_table/mod.rs"]
mod kernel_table;

/// The device of all cases.
async fn device() -> Device {
    crate::common::device().clone()
}

/// Each case is a test of its own, so that cargo names the one that fails.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            let wanted = stringify!($name);
            let (_, run) = kernel_table::CASES.iter().find(|(name, _)| *name == wanted).expect("the table has it");
            pollster::block_on(run());
        })*

        #[test]
        fn no_case_is_left_out() {
            let here = [$(stringify!($name)),*];
            assert!(kernel_table::CASES.iter().all(|(name, _)| here.contains(name)) && here.len() == kernel_table::CASES.len());
        }
    };
}

tests![
    matrix_products_match_in_every_encoding,
    columns_need_not_fill_a_block,
    bias_and_residual_are_added_and_a_wrong_weight_is_noticed,
    a_product_has_the_same_bits_whatever_the_tiles_the_tokens_and_the_lanes,
    rows_are_rounded_to_eight_bits,
    products_with_rounded_inputs_match,
    products_have_the_same_bits_wherever_their_inputs_lie,
    every_shape_of_a_product_has_the_same_bits,
    every_shape_for_a_gpu_has_the_same_bits,
    halves_agree_where_an_adapter_says_so,
    rows_past_the_largest_grid_are_computed,
    products_in_groups_match,
    transposed_products_match_wherever_tiles_are_cut,
    norms_match,
    norms_go_elsewhere_and_are_multiplied,
    streams_are_predicted_and_corrected,
    rows_are_brought_to_the_size_of_others,
    what_of_a_row_stands_out_is_kept,
    rotations_match,
    keys_are_rotated_on_their_way_into_the_cache_and_queries_where_they_are,
    attention_matches_over_pages_windows_and_segments,
    attention_matches_with_caps_sinks_slopes_and_narrow_values,
    attention_matches_where_keys_hold_the_values,
    attention_has_the_same_bits_alone_and_in_any_block,
    attention_goes_over_more_than_one_dispatch_takes,
    gates_match_at_the_ends_of_the_range,
    learned_curves_match_on_both_sides_of_zero,
    logits_are_scaled_and_capped,
    argmax_takes_the_lowest_of_equals_and_counts_what_is_not_finite,
    rows_are_gathered,
    rows_are_scattered_with_their_factors,
    columns_are_placed_in_groups,
    convolutions_go_on_where_their_sequences_stopped,
    delta_rules_match_and_go_on_where_their_sequences_stopped,
    a_delta_rule_has_the_same_bits_whatever_the_chunks,
];
