//! Inputs of products in uniform buffers, and in storage buffers.

use tilestream::internals::encoding::Encoding;
use tilestream::internals::gpu::kernels::*;

use super::product::Product;
use super::rounded::rounded_product;
use super::{Bench, bits, error};

pub async fn products_have_the_same_bits_wherever_their_inputs_lie() {
    for mut bench in Bench::all().await {
        let products = [
            // One window, and several whose last one is not full.
            Product::new(Encoding::BF16, 13, 8 * 43, 1),
            Product::new(Encoding::Q4_1, 9, 4096, 11),
            // Rows that do not begin where a binding may.
            rounded_product(Encoding::Q8_0, 7, 32 * 129, 11).await,
            rounded_product(Encoding::Q4_K, 5, 256 * 9, 30).await,
        ];
        for mut product in products {
            let tokens = product.tokens as u32;
            let row_bytes = product.columns.div_ceil(32) * product.input_type.chunk_bytes();
            assert_eq!(InputSpace::of(true, row_bytes, tokens), InputSpace::Uniform);
            let windows = InputSpace::Uniform.windows(row_bytes, tokens).count();
            assert_eq!(windows > 1, tokens > 1, "several tokens, several windows");
            for tiled in [true, false].into_iter().filter(|tiled| !tiled || tokens > 1) {
                let mut run = async |space| {
                    product.input_space = space;
                    product.run(&mut bench, tiled, 5, BIAS).await
                };
                let (storage, uniform) = (run(InputSpace::Storage).await, run(InputSpace::Uniform).await);
                assert!(error(&uniform, &product.expected(BIAS)) < 1e-5, "{:?}", product.encoding);
                assert_eq!(bits(&uniform), bits(&storage), "{:?}", product.encoding);
            }
        }
    }
}
