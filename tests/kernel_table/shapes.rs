//! Every shape that a search may choose computes the same bits.

use super::rounded::rounded_product;
use super::*;
use tilestream::internals::gpu::halves_agree;

/// Each size, each number of lanes and each way to sum; of the others enough to meet each size with each number of lanes, for
/// some drivers take seconds to compile one.
fn to_try(tuning: &Tuning, shuffling: u32, f16: bool) -> Vec<Shape> {
    let all = tuning.shapes(shuffling, false);
    let smallest = |shape: &Shape| {
        let same = |other: &&Shape| Shape { groups: shape.groups, ..**other } == *shape;
        all.iter().filter(same).map(|other| other.groups).min() == Some(shape.groups)
    };
    let first_way = |shape: &Shape| !all.contains(&Shape { subgroups: true, ..*shape }) || shape.subgroups;
    let wanted = |shape: &&Shape| match shape.rows {
        1 => smallest(shape) || (shape.lanes == tuning.strands && first_way(shape)),
        4 => smallest(shape) && first_way(shape),
        _ => smallest(shape) && first_way(shape) && shape.lanes == tuning.strands,
    };
    let mut shapes: Vec<Shape> = all.iter().filter(wanted).copied().collect();
    // How halves are widened has nothing to do with sizes.
    let usual = shapes.iter().rev().find(|shape| shape.lanes == tuning.strands).copied();
    shapes.extend(usual.filter(|_| f16).map(|shape| Shape { f16, ..shape }));
    shapes
}

/// The bits of a product in every shape, all the same.
async fn bits_in_every_shape(usual: &Tuning, shuffling: u32, product: &Product) {
    let expected = product.expected(0);
    let mut first = None;
    let gpu = gpu(1 << 24).await;
    let f16 = product.encoding == Encoding::F16 && halves_agree(&gpu).await.expect("compares");
    for shape in to_try(usual, shuffling, f16) {
        let id = |tiled| product.id(tiled);
        let mut bench = Bench::tuned(|_| usual.with(id(false), shape).with(id(true), shape)).await;
        for tiled in [false, true] {
            let actual = product.run(&mut bench, tiled, product.weights.len(), 0).await;
            let worst = error(&actual, &expected);
            assert!(worst < 1e-5, "{:?} {shape}: {worst}", product.encoding);
            let first = first.get_or_insert_with(|| bits(&actual));
            assert_eq!(bits(&actual), *first, "{:?} {shape}", product.encoding);
        }
    }
}

pub async fn every_shape_of_a_product_has_the_same_bits() {
    let gpu = gpu(1 << 28).await;
    let shuffling = tilestream::internals::gpu::tuning::shuffling_lanes(&gpu.adapter.info, gpu.device.features());
    // A last workgroup that is not full, chunks that are not the same for all strands.
    bits_in_every_shape(gpu.tuning(), shuffling, &Product::new(Encoding::Q4_1, 37, 32 * 43, 6)).await;
    bits_in_every_shape(&Tuning::WITHOUT_SUMS, shuffling, &Product::new(Encoding::BF16, 13, 8 * 43, 3)).await;
    bits_in_every_shape(gpu.tuning(), shuffling, &Product::new(Encoding::F16, 13, 8 * 43, 3)).await;
    bits_in_every_shape(gpu.tuning(), shuffling, &rounded_product(Encoding::Q6_K, 21, 256 * 5, 5).await).await;
}

pub async fn halves_agree_where_an_adapter_says_so() {
    let mut bench = Bench::new(true).await;
    if !bench.gpu.features().contains(wgpu::Features::SHADER_F16) {
        assert!(!halves_agree(&bench.gpu).await.expect("nothing to compare"));
        return;
    }
    // A row for each number, which stands in its first column.
    let columns = 32;
    let mut product = Product::new(Encoding::F16, 1 << 16, columns, 1);
    for (bits, row) in (0..=u16::MAX).zip(product.packed.chunks_mut(64)) {
        // What is not finite would spoil sums only.
        let number = half::f16::from_bits(bits);
        row.fill(0);
        row[..2].copy_from_slice(&if number.is_finite() { bits } else { 0 }.to_le_bytes());
    }
    product.input.fill(1.0);
    let usual = product.run(&mut bench, false, 1 << 16, 0).await;
    let shape = Shape { f16: true, ..bench.kernels.tuning().shape(product.id(false)) };
    let mut other = Bench::tuned(|tuning| tuning.with(product.id(false), shape)).await;
    let native = product.run(&mut other, false, 1 << 16, 0).await;
    let agree = halves_agree(&bench.gpu).await.expect("compares");
    assert_eq!(agree, bits(&native) == bits(&usual), "what the adapter said of all of them");
}

pub async fn every_shape_for_a_gpu_has_the_same_bits() {
    let gpu = gpu(1 << 28).await;
    let shuffling = tilestream::internals::gpu::tuning::shuffling_lanes(&gpu.adapter.info, gpu.device.features());
    let tuning = Tuning { strands: 32, lanes: 32, groups: 4, subgroups: shuffling >= 32, ..gpu.tuning().clone() };
    bits_in_every_shape(&tuning, shuffling, &Product::new(Encoding::Q8_0, 11, 32 * 75, 5)).await;
}
